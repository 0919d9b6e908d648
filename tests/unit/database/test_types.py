"""Column types: decimals as text that sorts, and values that databases return in another type."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Dialect, String, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import Column, CreateTable, MetaData

from edgy_bus.database import (
    Conversion,
    Converted,
    Duration,
    ExactDecimal,
    PlainUuid,
    stored_type,
)
from edgy_bus.database.compiling import Compiler
from edgy_bus.database.types import SqliteReal

SQLITE, POSTGRESQL = sqlite.dialect(), postgresql.dialect()


def bound(column: Any, value: object, dialect: Dialect = SQLITE) -> Any:
    process = column.dialect_impl(dialect).bind_processor(dialect)
    return process(value) if process else value


def loaded(column: Any, value: object, dialect: Dialect = SQLITE) -> Any:
    process = column.dialect_impl(dialect).result_processor(dialect, None)
    return process(value) if process else value


SIZES = st.integers(16, 60).flatmap(lambda digits: st.tuples(st.just(digits), st.integers(0, 20)))


@given(SIZES.filter(lambda size: size[1] <= size[0]), st.lists(st.integers(), max_size=5))
def test_texts_of_decimals_sort_like_the_decimals(
    size: tuple[int, int], numbers: list[int]
) -> None:
    digits, places = size
    column = ExactDecimal(digits, places)
    limit = 10**digits - 1
    inside = [max(-limit, min(number, limit)) for number in [*numbers, 0, 1, -1, limit, -limit]]
    values = [Decimal(f"{number}E-{places}") for number in inside]
    assert column.limit == Decimal(f"{limit}E-{places}")
    texts = [bound(column, value) for value in values]
    assert [loaded(column, text) for text in texts] == values
    assert [values[texts.index(text)] for text in sorted(texts)] == sorted(values)
    # A column of NUMERIC affinity must not make a number of the text.
    assert all(text[0] in "np" and len(text) == digits + 1 for text in texts)


@pytest.mark.parametrize("stored", [12, 12.5, "12.50", -3, 100_000_000_000_000_000])
def test_numbers_of_earlier_releases_can_be_read(stored: object) -> None:
    value = loaded(ExactDecimal(20, 2), stored)
    assert value == Decimal(str(stored))
    assert value.as_tuple().exponent == -2


@pytest.mark.parametrize(
    ("digits", "sqlite_type"), [(15, "NUMERIC"), (16, "VARCHAR(18)"), (1, "NUMERIC")]
)
def test_only_decimals_of_many_digits_are_text(digits: int, sqlite_type: str) -> None:
    table = Table("t", MetaData(), Column("amount", ExactDecimal(digits, 1)))
    assert f"amount {sqlite_type}" in str(CreateTable(table).compile(dialect=SQLITE))
    assert f"NUMERIC({digits}, 1)" in str(CreateTable(table).compile(dialect=POSTGRESQL))


def test_the_types_of_drivers_are_replaced() -> None:
    class DriverUuid(uuid.UUID):
        pass

    value = loaded(PlainUuid(), DriverUuid(int=7), POSTGRESQL)
    assert (type(value), value) == (uuid.UUID, uuid.UUID(int=7))
    assert type(loaded(SqliteReal(), 1)) is float


def test_a_converted_column_has_the_type_that_is_stored() -> None:
    column = Converted(String(9), Conversion("int", str, int))
    assert (bound(column, 5), loaded(column, "5")) == ("5", 5)
    assert (bound(column, None), loaded(column, None)) == (None, None)
    assert isinstance(stored_type(column), String)
    table = Table("t", MetaData(), Column("amount", column))
    assert "amount VARCHAR(9)" in str(CreateTable(table).compile(dialect=SQLITE))
    assert repr(column) == "String(length=9)"


def test_statements_of_converted_columns_are_compiled_once() -> None:
    conversion = Conversion("int", str, int)
    table = Table("t", MetaData(), Column("amount", Converted(String(9), conversion)))
    compiler = Compiler(SQLITE)
    statements = [
        compiler.prepare(select(table).where(table.c.amount == amount)) for amount in (1, 2)
    ]
    assert [statement.arguments for statement in statements] == [("1",), ("2",)]
    assert statements[0].columns is statements[1].columns


def test_durations_are_whole_numbers_of_microseconds() -> None:
    value = dt.timedelta(days=-1, microseconds=1)
    assert bound(Duration(), value) == -86_399_999_999
    assert loaded(Duration(), -86_399_999_999) == value
