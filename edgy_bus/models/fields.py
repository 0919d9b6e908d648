"""The fields of a model: each is a pydantic field that also knows its column.

A field function answers what pydantic's `Field()` would answer, so that an annotated attribute of a model is validated by
pydantic; the column travels with it.
"""

import datetime as dt
import enum
from collections.abc import Callable, Sequence
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

RESTRICT, CASCADE, SET_NULL = "RESTRICT", "CASCADE", "SET NULL"
"""What the database does with rows that refer to a row that is deleted."""


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
    snapshot_type: Any = None
    """What an event's value is read as, where that is not what the field is annotated with."""
    references: Any = None
    """The model, or `"self"`, whose primary key the field holds."""
    on_delete: str | None = None

    def column(self, name: str, own: str) -> sa.Column[Any]:
        """The column; `own` is the primary key that `"self"` refers to, as `table.column`."""
        target = own if self.references == "self" else self._target()
        foreign = [sa.ForeignKey(target, ondelete=self.on_delete)] if target else []
        return sa.Column(
            name,
            self.column_type,
            *foreign,
            primary_key=self.primary_key,
            autoincrement=self.generated,
            nullable=self.null,
            unique=self.unique or None,
            index=self.index or None,
        )

    def _target(self) -> str:
        return (
            ""
            if self.references is None
            else f"{self.references.meta.tablename}.{self.references.meta.pk}"
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
    snapshot_type: Any = None,
    references: Any = None,
    on_delete: str | None = None,
    validators: Sequence[Any] = (),
    **constraints: Any,
) -> Any:
    if primary_key and null:
        raise ModelError("a primary key cannot be null")
    filled_in = generated or auto_now or auto_now_add
    if default is REQUIRED and (null or filled_in):
        default = None
    given: dict[str, Any] = (
        {"default_factory": default} if callable(default) else {"default": default}
    )
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
            snapshot_type=snapshot_type,
            references=references,
            on_delete=on_delete,
        )
    )
    info.metadata.extend(validators)
    if null or filled_in:
        info.metadata.append(pydantic.WrapValidator(_none_passes))
    return info


def IntegerField(*, primary_key: bool = False, **options: Any) -> Any:
    """A whole number of 32 bits. As a primary key it is generated."""
    return _make(
        sa.Integer(), primary_key=primary_key, generated=primary_key, **_bounds(31), **options
    )


def BigIntegerField(*, primary_key: bool = False, **options: Any) -> Any:
    """A whole number of 64 bits. As a primary key it is generated, on every database."""
    return _make(
        big_key(), primary_key=primary_key, generated=primary_key, **_bounds(63), **options
    )


def CharField(*, max_length: int, **options: Any) -> Any:
    """Text of at most `max_length` characters."""
    return _make(sa.String(max_length), max_length=max_length, **options)


def TextField(**options: Any) -> Any:
    """Text of any length."""
    return _make(sa.Text(), **options)


def EmailField(*, max_length: int = 254, **options: Any) -> Any:
    """An address: something, an @, something with a dot, and no blanks."""
    return _make(
        sa.String(max_length),
        max_length=max_length,
        pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
        **options,
    )


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


def TimeField(**options: Any) -> Any:
    """A time of day, without a zone."""
    return _make(sa.Time(), **options)


def BinaryField(*, max_length: int | None = None, **options: Any) -> Any:
    """Bytes. In an event they are base64 text."""
    bounds: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
    return _make(
        sa.LargeBinary(max_length), snapshot_type=pydantic.Base64Bytes, **bounds, **options
    )


def ChoiceField(choices: type[enum.Enum] | Sequence[str], **options: Any) -> Any:
    """One of an Enum's members, stored by its value (text), or one of several texts."""
    if isinstance(choices, type):
        values = [member.value for member in choices]
        column: TypeEngine[Any] = sa.Enum(
            choices, values_callable=lambda _: values, native_enum=False, length=_longest(values)
        )
        return _make(column, **options)
    column = sa.String(_longest(choices))
    return _make(column, validators=[pydantic.AfterValidator(_one_of(tuple(choices)))], **options)


def ForeignKey(to: Any, *, on_delete: str = RESTRICT, **options: Any) -> Any:
    """The primary key of a row of another model; `await instance.related("owner")` loads that row.

    Args:
        to: the model, or `"self"`. An instance of it may be assigned: its key is taken.
        on_delete: what the database does when that row is deleted: RESTRICT, CASCADE or SET_NULL. Rows that it deletes or
            changes so send no signals.

    Raises:
        ModelError: for a model without a table, another `on_delete`, or SET_NULL on a field that is not `null=True`.
    """
    if on_delete not in (RESTRICT, CASCADE, SET_NULL):
        raise ModelError(f"on_delete={on_delete!r}: use {RESTRICT!r}, {CASCADE!r} or {SET_NULL!r}")
    if on_delete == SET_NULL and not options.get("null"):
        raise ModelError("on_delete=SET_NULL needs null=True")
    if to == "self":
        column: TypeEngine[Any] = big_key()
    elif isinstance(to, type) and hasattr(to, "meta"):
        column = to.meta.table.c[to.meta.pk].type
    else:
        raise ModelError(f'ForeignKey takes a model or "self", not {to!r}')
    return _make(
        column,
        references=to,
        on_delete=on_delete,
        validators=[pydantic.BeforeValidator(key_of)],
        **options,
    )


def key_of(value: Any) -> Any:
    """The primary key of a model's instance; anything else as it is."""
    return value.pk if hasattr(type(value), "meta") else value


def _longest(texts: Sequence[Any]) -> int:
    if not texts or not all(isinstance(one, str) for one in texts):
        raise ModelError(
            f"the choices of a ChoiceField are texts, and at least one: not {list(texts)!r}"
        )
    return max(len(one) for one in texts)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return value

    return check


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
