"""Compile statements for asyncpg, and convert the values that asyncpg does not convert."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import Dialect, Float, Numeric
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import sqltypes

from edgy_bus.database.compiling import Processor


class _Numeric(Numeric[Any]):
    """Convert NUMERIC values, which asyncpg returns as decimals."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return None if self.asdecimal else _unless_none(float)


class _Float(Float[Any]):
    """Convert FLOAT values, which asyncpg returns as floats."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return _unless_none(Decimal) if self.asdecimal else None


class _JSON(JSON):
    """Convert JSON values, which asyncpg returns as text."""

    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


class _JSONB(JSONB):
    """Convert JSONB values, which asyncpg returns as text."""

    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


def _unless_none(convert: Processor) -> Processor:
    return lambda value: None if value is None else convert(value)


class _Dialect(PGDialect_asyncpg):
    """Compile statements for asyncpg: numbered parameters, with casts to their types."""

    # SQLAlchemy's own engine installs decoders for JSON and numbers on its connections. `databases`
    # reads from the same pool as this module and expects undecoded values, so no decoders can be
    # installed; the types above decode instead.

    supports_statement_cache = True
    # SQLAlchemy reads this setting from a live connection, which a compiler has not. PostgreSQL has
    # standard_conforming_strings on: a backslash in a literal stands for a backslash.
    _backslash_escapes = False
    colspecs = PGDialect_asyncpg.colspecs | {
        Numeric: _Numeric,
        Float: _Float,
        sqltypes.JSON: _JSON,
        JSON: _JSON,
        JSONB: _JSONB,
    }


def compiling_dialect() -> Dialect:
    """Return the dialect of the statements, without a connection."""
    construct = cast("Callable[..., Dialect]", _Dialect)
    return construct(json_serializer=json_text)


_TEXT_OR_LARGE_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.]+e\+[0-9]+')


def json_text(value: object) -> str:
    """Return the JSON of a value, from which JSONB returns floats as floats.

    JSONB has decimal numbers. It returns 1e+16 as a whole number, but keeps the point of
    10000000000000000.0.
    """
    text = json.dumps(value)
    return _TEXT_OR_LARGE_FLOAT.sub(_with_point, text) if "e+" in text else text


def _with_point(match: re.Match[str]) -> str:
    token = match[0]
    # Python writes an exponent above 0 from 1e16 on, where every float is a whole number.
    return token if token.startswith('"') else f"{Decimal(token):f}.0"
