"""Column types that mean the same on every database."""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, Numeric, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine


def big_key() -> TypeEngine[int]:
    """A 64-bit integer that autoincrements as a primary key everywhere (SQLite does that for INTEGER alone)."""
    return BigInteger().with_variant(Integer(), "sqlite")


def json_type() -> TypeEngine[Any]:
    """JSON, as JSONB on PostgreSQL; None is stored as NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class UTCDateTime(TypeDecorator[dt.datetime]):
    """A point in time. What comes back is aware and in UTC; a naive value is taken to be UTC.

    PostgreSQL has TIMESTAMP WITH TIME ZONE. SQLite gets ISO 8601 text of a fixed width with its zone, so that comparing and
    ordering the text compares and orders the times.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            String(32) if dialect.name == "sqlite" else DateTime(timezone=True)
        )

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        aware = as_utc(value)
        return aware.isoformat(timespec="microseconds") if dialect.name == "sqlite" else aware

    def process_result_value(self, value: Any, _: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return as_utc(dt.datetime.fromisoformat(value) if isinstance(value, str) else value)


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal number with a fixed number of places, which never passes through a Python float.

    SQLite keeps numbers as 64-bit floats: there, 15 significant digits come back as they were.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int, places: int) -> None:
        super().__init__(digits, places)
        self.digits = digits
        self.places = places

    def __repr__(self) -> str:
        return f"ExactDecimal({self.digits}, {self.places})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # Text bound to a column of NUMERIC affinity is compared and stored as a number.
        exact = _SQLiteNumeric() if dialect.name == "sqlite" else Numeric(self.digits, self.places)
        return dialect.type_descriptor(exact)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        exact = Decimal(str(value))
        return format(exact, "f") if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, _: Dialect) -> Decimal | None:
        if value is None:
            return None
        return Decimal(str(value)).quantize(Decimal(1).scaleb(-self.places))


class _SQLiteNumeric(TypeEngine[Any]):
    """NUMERIC in DDL, and no processors of its own."""

    __visit_name__ = "NUMERIC"
    precision = None
    scale = None


def as_utc(value: dt.datetime) -> dt.datetime:
    """The same point in time in UTC; a naive value is taken to be UTC."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
