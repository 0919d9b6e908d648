"""Define column types that mean the same on every database."""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, Numeric, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine


def big_key() -> TypeEngine[int]:
    """Return a 64-bit integer type that autoincrements as a primary key on every database."""
    # SQLite autoincrements INTEGER PRIMARY KEY only; there an INTEGER has 64 bits anyway.
    return BigInteger().with_variant(Integer(), "sqlite")


def json_type() -> TypeEngine[Any]:
    """Return a JSON type, JSONB on PostgreSQL, which stores None as NULL."""
    return JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


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

    SQLite stores numbers as 64-bit floats: there, values of up to 15 significant digits come back
    unchanged.

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

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Decimal]:
        """Return the type that stores the values in this database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(_SQLiteNumeric())
        return dialect.type_descriptor(Numeric(self.digits, self.places))

    def process_bind_param(self, value: object, dialect: Dialect) -> Decimal | str | None:
        """Convert a value for the driver."""
        if value is None:
            return None
        exact = Decimal(str(value))
        # SQLite has no decimal: text bound to a column of NUMERIC affinity is stored and compared
        # as a number, while a Decimal could not be bound at all.
        return format(exact, "f") if dialect.name == "sqlite" else exact

    def process_result_value(self, value: object, _: Dialect) -> Decimal | None:
        """Convert a value of the driver, and restore trailing zeros, which SQLite drops."""
        if value is None:
            return None
        return Decimal(str(value)).quantize(Decimal(1).scaleb(-self.places))


class _SQLiteNumeric(TypeEngine[Decimal]):
    """Render NUMERIC in DDL, without SQLAlchemy's processors, which go through floats."""

    __visit_name__ = "NUMERIC"
    precision = None
    scale = None


def as_utc(value: dt.datetime) -> dt.datetime:
    """Return the same point in time in UTC; a naive value counts as UTC."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
