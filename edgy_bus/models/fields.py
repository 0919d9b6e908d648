"""The fields of a model: each is a pydantic field that also knows its column.

A field function answers what pydantic's `Field()` would answer, so that an annotated attribute of a model is validated by
pydantic; the column travels with it.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pydantic
import sqlalchemy as sa
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqlalchemy.types import TypeEngine

from edgy_bus.database import ExactDecimal, UTCDateTime, big_key, json_type
from edgy_bus.errors import ModelError

REQUIRED: Any = PydanticUndefined


@dataclass(frozen=True, slots=True)
class Field:
    """What a model knows of a field beyond pydantic."""

    column_type: TypeEngine[Any]
    primary_key: bool = False
    generated: bool = False
    """The database makes the value when there is none."""
    null: bool = False
    unique: bool = False
    index: bool = False
    secret: bool = False
    """Stays in the database: never in an event, a log or a repr."""
    auto_now: bool = False
    auto_now_add: bool = False

    def column(self, name: str) -> sa.Column[Any]:
        return sa.Column(
            name,
            self.column_type,
            primary_key=self.primary_key,
            autoincrement=self.generated,
            nullable=self.null,
            unique=self.unique or None,
            index=self.index or None,
        )


def field_of(info: FieldInfo) -> Field | None:
    """The model's part of a pydantic field."""
    return next((one for one in info.metadata if isinstance(one, Field)), None)


def _none_passes(value: Any, handler: Callable[[Any], Any]) -> Any:
    return None if value is None else handler(value)


def _make(
    column_type: TypeEngine[Any],
    *,
    default: Any = REQUIRED,
    null: bool = False,
    primary_key: bool = False,
    generated: bool = False,
    unique: bool = False,
    index: bool = False,
    secret: bool = False,
    auto_now: bool = False,
    auto_now_add: bool = False,
    **constraints: Any,
) -> Any:
    if primary_key and null:
        raise ModelError("a primary key cannot be null")
    filled_in = generated or auto_now or auto_now_add
    if default is REQUIRED and (null or filled_in):
        default = None
    given: dict[str, Any] = {"default_factory": default} if callable(default) else {"default": default}
    # pydantic's annotations do not know that a field's keywords may come from a mapping.
    info = cast(FieldInfo, pydantic.Field(repr=not secret, **given, **constraints))
    info.metadata.append(
        Field(
            column_type=column_type,
            primary_key=primary_key,
            generated=generated,
            null=null,
            unique=unique,
            index=index,
            secret=secret,
            auto_now=auto_now,
            auto_now_add=auto_now_add,
        )
    )
    if null or filled_in:
        info.metadata.append(pydantic.WrapValidator(_none_passes))
    return info


def IntegerField(*, primary_key: bool = False, **options: Any) -> Any:
    """A whole number of 32 bits. As a primary key it is generated."""
    return _make(sa.Integer(), primary_key=primary_key, generated=primary_key, **_bounds(31), **options)


def BigIntegerField(*, primary_key: bool = False, **options: Any) -> Any:
    """A whole number of 64 bits. As a primary key it is generated, on every database."""
    return _make(big_key(), primary_key=primary_key, generated=primary_key, **_bounds(63), **options)


def CharField(*, max_length: int, **options: Any) -> Any:
    """Text of at most `max_length` characters."""
    return _make(sa.String(max_length), max_length=max_length, **options)


def TextField(**options: Any) -> Any:
    """Text of any length."""
    return _make(sa.Text(), **options)


def EmailField(*, max_length: int = 254, **options: Any) -> Any:
    """An address: something, an @, something with a dot, and no blanks."""
    return _make(sa.String(max_length), max_length=max_length, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", **options)


def BooleanField(**options: Any) -> Any:
    return _make(sa.Boolean(), **options)


def FloatField(**options: Any) -> Any:
    """A number of 64 bits; not a NaN or an infinity, which JSON does not know."""
    return _make(sa.Double(), allow_inf_nan=False, **options)


def DecimalField(*, max_digits: int, decimal_places: int, **options: Any) -> Any:
    """An exact number of `max_digits` digits, `decimal_places` of them after the point."""
    column = ExactDecimal(max_digits, decimal_places)
    return _make(column, max_digits=max_digits, decimal_places=decimal_places, **options)


def DateField(**options: Any) -> Any:
    return _make(sa.Date(), **options)


def DateTimeField(*, auto_now: bool = False, auto_now_add: bool = False, **options: Any) -> Any:
    """A point in time, aware and in UTC when it comes back. `auto_now` sets it at every save, `auto_now_add` at the first."""
    return _make(UTCDateTime(), auto_now=auto_now, auto_now_add=auto_now_add, **options)


def UUIDField(**options: Any) -> Any:
    """A UUID; `UUIDField(primary_key=True, default=uuid.uuid4)` makes keys without asking the database."""
    return _make(sa.Uuid(), **options)


def JSONField(**options: Any) -> Any:
    """Anything that JSON can hold."""
    return _make(json_type(), **options)


def _bounds(bits: int) -> dict[str, Any]:
    return {"ge": -(2**bits), "le": 2**bits - 1}


def current_time() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
