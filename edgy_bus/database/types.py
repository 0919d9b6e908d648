"""Define column types that mean the same on every database."""

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Integer, Numeric, String, Uuid
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeDecorator, TypeEngine

from edgy_bus.database.compiling import Processor

ColumnType = TypeEngine[Any]


def big_key() -> TypeEngine[int]:
    """Return a 64-bit integer type that autoincrements as a primary key on every database."""
    # SQLite autoincrements INTEGER PRIMARY KEY only; there an INTEGER has 64 bits anyway.
    return BigInteger().with_variant(Integer(), "sqlite")


class TextJSON(sqlite.JSON):
    """Store JSON as text on SQLite.

    SQLite turns the text `0.0` into the integer 0 in a column whose type it does not know, and JSON
    is such a type (https://www.sqlite.org/datatype3.html, section 3.1).
    """


@compiles(TextJSON, "sqlite")
def _name_of_type(*_: object, **__: object) -> str:
    return "TEXT"


def json_type() -> ColumnType:
    """Return a JSON type, JSONB on PostgreSQL, which stores None as NULL."""
    on_postgresql, on_sqlite = JSONB(none_as_null=True), TextJSON(none_as_null=True)
    return (
        JSON(none_as_null=True)
        .with_variant(on_postgresql, "postgresql")
        .with_variant(on_sqlite, "sqlite")
    )


class UTCDateTime(TypeDecorator[dt.datetime]):
    """Store a point in time, and return an aware value in UTC. A naive value counts as UTC.

    PostgreSQL stores TIMESTAMP WITH TIME ZONE. SQLite stores ISO 8601 text with its time zone.
    """

    # The SQLite text has microseconds in every value and UTC only: a fixed width, so that the text
    # sorts and compares in the same order as the times.

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str] | TypeEngine[dt.datetime]:
        """Return the type that stores the values in this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(
        self, value: dt.datetime | None, dialect: Dialect
    ) -> dt.datetime | str | None:
        """Convert a value for the driver."""
        if value is None:
            return None
        aware = as_utc(value)
        return aware.isoformat(timespec="microseconds") if dialect.name == "sqlite" else aware

    def process_result_value(
        self, value: dt.datetime | str | None, _: Dialect
    ) -> dt.datetime | None:
        """Convert a value of the driver."""
        if value is None:
            return None
        return as_utc(dt.datetime.fromisoformat(value) if isinstance(value, str) else value)


class ExactDecimal(TypeDecorator[Decimal]):
    """Store a decimal number with a fixed number of places, which is never a Python float.

    SQLite stores numbers as 64-bit floats, which keep 15 significant digits. There, a column of
    more digits contains text that sorts and compares in the order of the numbers: `p` and the
    digits for 0 and above, `n` and the nines' complement of the digits below 0.

    Args:
        digits: the number of significant digits.
        places: the number of digits after the point.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int, places: int) -> None:
        super().__init__(digits, places)
        self.digits = digits
        self.places = places

    def __repr__(self) -> str:
        return f"ExactDecimal({self.digits}, {self.places})"

    @property
    def is_text(self) -> bool:
        """Return whether SQLite stores text, with which SQL cannot compute."""
        return self.digits > _FLOAT_DIGITS

    @property
    def limit(self) -> Decimal:
        """Return the largest number of the column."""
        return Decimal(10**self.digits - 1).scaleb(-self.places, context=_WIDE)

    def load_dialect_impl(self, dialect: Dialect) -> ColumnType:
        """Return the type that stores the values in this database."""
        if dialect.name != "sqlite":
            return dialect.type_descriptor(Numeric(self.digits, self.places))
        stored = String(self.digits + 2) if self.is_text else _SQLiteNumeric()
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: object, dialect: Dialect) -> Decimal | str | None:
        """Convert a value for the driver."""
        if value is None:
            return None
        exact = Decimal(str(value))
        if dialect.name != "sqlite":
            return exact
        if self.is_text:
            return self._as_text(exact)
        # SQLite has no decimal: text bound to a column of NUMERIC affinity is stored and compared
        # as a number, while a Decimal could not be bound at all.
        return format(exact, "f")

    def process_result_value(self, value: object, _: Dialect) -> Decimal | None:
        """Convert a value of the driver, and restore trailing zeros, which SQLite drops."""
        if value is None:
            return None
        text = str(value)
        # Tables of earlier releases have NUMERIC columns of any number of digits, and so numbers.
        exact = self._from_text(text) if text[:1] in ("n", "p") else Decimal(text)
        return exact.quantize(Decimal(1).scaleb(-self.places), context=_WIDE)

    def _as_text(self, value: Decimal) -> str:
        # The text must not look like a number: a NUMERIC column would make a float of the text.
        number = int(value.scaleb(self.places, context=_WIDE).to_integral_value(ROUND_FLOOR))
        if number >= 0:
            return f"p{number:0{self.digits}d}"
        return f"n{10**self.digits - 1 + number:0{self.digits}d}"

    def _from_text(self, text: str) -> Decimal:
        number = int(text[1:])
        if text[0] == "n":
            number -= 10**self.digits - 1
        return Decimal(number).scaleb(-self.places, context=_WIDE)


_FLOAT_DIGITS = 15
"""The significant digits of a decimal number that every 64-bit float keeps."""

_WIDE = Context(prec=2_000)
"""The context of computations that must not round; PostgreSQL has at most 1,000 digits."""


class _SQLiteNumeric(TypeEngine[Decimal]):
    """Render NUMERIC in DDL, without SQLAlchemy's processors, which go through floats."""

    __visit_name__ = "NUMERIC"
    precision = None
    scale = None


def as_utc(value: dt.datetime) -> dt.datetime:
    """Return the same point in time in UTC; a naive value counts as UTC."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Duration(TypeDecorator[dt.timedelta]):
    """Store a duration as a whole number of microseconds, which compares in the same order."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: dt.timedelta | None, _: Dialect) -> int | None:
        """Convert a value for the driver."""
        return None if value is None else value // _MICROSECOND

    def process_result_value(self, value: int | None, _: Dialect) -> dt.timedelta | None:
        """Convert a value of the driver."""
        return None if value is None else dt.timedelta(microseconds=value)


_MICROSECOND = dt.timedelta(microseconds=1)


def float_type() -> TypeEngine[float]:
    """Return a type of 64-bit numbers whose values are always floats."""
    return Double().with_variant(SqliteReal(), "sqlite")


class SqliteReal(TypeDecorator[float]):
    """Return floats: the RETURNING of SQLite makes an integer of 1.0."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: float | None, _: Dialect) -> float | None:
        """Convert a value of the driver."""
        return None if value is None else float(value)


class PlainUuid(TypeDecorator[uuid.UUID]):
    """Store a UUID, and return `uuid.UUID` itself: asyncpg has a subclass of its own."""

    impl = Uuid
    cache_ok = True

    def process_result_value(self, value: uuid.UUID | None, _: Dialect) -> uuid.UUID | None:
        """Convert a value of the driver."""
        if value is None or type(value) is uuid.UUID:
            return value
        return uuid.UUID(int=value.int)


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """Two functions between the values of a field and the values of its column.

    None passes both functions by.

    Attributes:
        name: the type of the field's values, for errors and to tell types apart.
        dump: returns the column's value; raises an error of this library for a wrong value.
        load: returns the field's value; None where the column's value is the field's value.
    """

    # Compared by identity, as part of the cache keys of SQLAlchemy.

    name: str
    dump: Processor
    load: Processor | None


class Converted(TypeDecorator[Any]):
    """Store the values of a Python type as values of another column type.

    Args:
        stored: the type of the column.
        conversion: how values are converted; None for a column that is only created.
    """

    impl: Any = String
    cache_ok = True

    def __init__(self, stored: ColumnType, conversion: Conversion | None = None) -> None:
        super().__init__()
        self.impl = stored
        self.stored = stored
        self.conversion = conversion

    def __repr__(self) -> str:
        return repr(self.stored)

    def result_processor(self, dialect: Dialect, coltype: object) -> Processor | None:
        """Return the function that converts values of the driver."""
        # Columns without a conversion would pay for a call of Python for each value.
        if self.conversion is None or self.conversion.load is None:
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_bind_param(self, value: object, _: Dialect) -> object:
        """Convert a value for the column."""
        if value is None or self.conversion is None:
            return value
        return self.conversion.dump(value)

    def process_result_value(self, value: object, _: Dialect) -> object:
        """Convert a value of the column."""
        # `result_processor` has looked for the function.
        load = None if self.conversion is None else self.conversion.load
        return value if value is None or load is None else load(value)


def stored_type(column_type: ColumnType) -> ColumnType:
    """Return the type of the column's values, without the conversion of a field."""
    return column_type.stored if isinstance(column_type, Converted) else column_type
