"""The fields of a model: pydantic fields that also describe a column.

A field function returns what pydantic's `Field()` returns, so that pydantic validates the annotated
attribute of a model. The description of the column is part of the field's metadata.
"""

import datetime as dt
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, cast

import pydantic
import sqlalchemy as sa
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqlalchemy.types import TypeEngine

from edgy_bus.database import ExactDecimal, UTCDateTime, big_key, json_type
from edgy_bus.errors import ModelError
from edgy_bus.sources import Value

REQUIRED: Value = PydanticUndefined

RESTRICT, CASCADE, SET_NULL = "RESTRICT", "CASCADE", "SET NULL"
"""Actions of the database on rows that refer to a deleted row."""

Declared = Any
"""The result of a field function, which type checkers must accept for every annotation."""

ColumnType = TypeEngine[Any]
Target = Any
"""A model, or `"self"`."""


@dataclass(frozen=True, slots=True)
class Field:
    """The description of a field beyond pydantic.

    Attributes:
        column_type: the type of the column.
        primary_key: whether the field is the primary key.
        generated: whether the database makes a missing value.
        null: whether the column may be NULL.
        unique: whether values are unique.
        index: whether the column has an index.
        secret: whether values stay in the database: never in an event, a log or a repr.
        auto_now: whether every save sets the current time.
        auto_now_add: whether the first save sets the current time.
        snapshot_type: the type of the value in an event, if it is not the annotated type.
        references: the model, or `"self"`, whose primary key the field contains.
        on_delete: the action of the database when that row is deleted.
    """

    column_type: ColumnType
    primary_key: bool = False
    generated: bool = False
    null: bool = False
    unique: bool = False
    index: bool = False
    secret: bool = False
    auto_now: bool = False
    auto_now_add: bool = False
    snapshot_type: type | None = None
    references: Target = None
    on_delete: str | None = None

    def column(self, name: str, own_key: str) -> sa.Column[Value]:
        """Return the column; `own_key` is the key that `"self"` refers to, as `table.column`."""
        # The table of `"self"` does not exist yet, so its key is passed as text.
        target = own_key if self.references == "self" else self._target()
        foreign_keys = [sa.ForeignKey(target, ondelete=self.on_delete)] if target else []
        return sa.Column(
            name,
            self.column_type,
            *foreign_keys,
            primary_key=self.primary_key,
            autoincrement=self.generated,
            nullable=self.null,
            unique=self.unique or None,
            index=self.index or None,
        )

    def _target(self) -> str:
        if self.references is None:
            return ""
        return f"{self.references.meta.tablename}.{self.references.meta.pk}"


class FieldOptions(TypedDict, total=False):
    """The keywords of every field function: options of the column, and limits by pydantic."""

    default: Value
    null: bool
    unique: bool
    index: bool
    secret: bool
    gt: Value
    ge: Value
    lt: Value
    le: Value
    multiple_of: Value
    min_length: int
    alias: str
    title: str
    description: str
    examples: list[Value]


class KeyOptions(FieldOptions, total=False):
    """The keywords of fields whose values the application gives, also as a primary key."""

    primary_key: bool


class TextOptions(KeyOptions, total=False):
    """The keywords of fields of text."""

    pattern: str


class LongTextOptions(TextOptions, total=False):
    """The keywords of fields of text of any length."""

    max_length: int


def field_of(info: FieldInfo) -> Field | None:
    """Return the model's part of a pydantic field; None for a field of pydantic alone."""
    return next((part for part in info.metadata if isinstance(part, Field)), None)


def _none_passes(value: Value, handler: Callable[[Value], Value]) -> Value:
    return None if value is None else handler(value)


def _make(
    column_type: ColumnType,
    *,
    default: Value = REQUIRED,
    null: bool = False,
    primary_key: bool = False,
    generated: bool = False,
    unique: bool = False,
    index: bool = False,
    secret: bool = False,
    auto_now: bool = False,
    auto_now_add: bool = False,
    snapshot_type: type | None = None,
    references: Target = None,
    on_delete: str | None = None,
    validators: Sequence[object] = (),
    **constraints: Value,
) -> Declared:
    if primary_key and null:
        raise ModelError("a primary key cannot be null")
    # The database or a save makes the value: an instance may lack the value until then.
    is_made = generated or auto_now or auto_now_add
    if default is REQUIRED and (null or is_made):
        default = None
    keyword = "default_factory" if callable(default) else "default"
    # pydantic's annotations do not know that a field's keywords may come from a mapping.
    info = cast(FieldInfo, pydantic.Field(repr=not secret, **{keyword: default}, **constraints))
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
    # Last, because pydantic runs the last validator first: None must not reach the others.
    if null or is_made:
        info.metadata.append(pydantic.WrapValidator(_none_passes))
    return info


# Numbers


def IntegerField(*, primary_key: bool = False, **options: Unpack[FieldOptions]) -> Declared:
    """Declare a whole number of 32 bits. The database generates primary keys."""
    limits = _limits(31)
    return _make(sa.Integer(), primary_key=primary_key, generated=primary_key, **limits, **options)


def BigIntegerField(*, primary_key: bool = False, **options: Unpack[FieldOptions]) -> Declared:
    """Declare a whole number of 64 bits. The database generates primary keys."""
    limits = _limits(63)
    return _make(big_key(), primary_key=primary_key, generated=primary_key, **limits, **options)


def BooleanField(**options: Unpack[KeyOptions]) -> Declared:
    """Declare a truth value."""
    return _make(sa.Boolean(), **options)


def FloatField(**options: Unpack[KeyOptions]) -> Declared:
    """Declare a number of 64 bits."""
    # JSON, and so an event, has neither NaN nor infinities.
    return _make(sa.Double(), allow_inf_nan=False, **options)


def DecimalField(
    *, max_digits: int, decimal_places: int, **options: Unpack[KeyOptions]
) -> Declared:
    """Declare an exact number of `max_digits` digits, `decimal_places` of them after the point."""
    column = ExactDecimal(max_digits, decimal_places)
    return _make(column, max_digits=max_digits, decimal_places=decimal_places, **options)


def _limits(bits: int) -> dict[str, Value]:
    # SQLite has no columns of 32 bits: it would store numbers that PostgreSQL refuses.
    return {"ge": -(2**bits), "le": 2**bits - 1}


# Text


def CharField(*, max_length: int, **options: Unpack[TextOptions]) -> Declared:
    """Declare text of at most `max_length` characters."""
    return _make(sa.String(max_length), max_length=max_length, **options)


def TextField(**options: Unpack[LongTextOptions]) -> Declared:
    """Declare text of any length."""
    return _make(sa.Text(), **options)


def EmailField(*, max_length: int = 254, **options: Unpack[KeyOptions]) -> Declared:
    """Declare an address: some text, an @, some text with a dot, and no blanks."""
    # Only a message to an address proves more than this pattern.
    pattern = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
    return _make(sa.String(max_length), max_length=max_length, pattern=pattern, **options)


def ChoiceField(
    choices: type[enum.Enum] | Sequence[str], **options: Unpack[KeyOptions]
) -> Declared:
    """Declare a member of an Enum, stored by its value (text), or one of several texts."""
    if isinstance(choices, type):
        values = [member.value for member in choices]
        # Not a native enum of PostgreSQL, to which a migration can add members only one by one.
        column: ColumnType = sa.Enum(
            choices, values_callable=lambda _: values, native_enum=False, length=_longest(values)
        )
        return _make(column, **options)
    column = sa.String(_longest(choices))
    return _make(column, validators=[_is_among(tuple(choices))], **options)


def _longest(texts: Sequence[Value]) -> int:
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ModelError(
            f"the choices of a ChoiceField are texts, and at least one: not {list(texts)!r}"
        )
    return max(len(text) for text in texts)


def _is_among(choices: tuple[str, ...]) -> pydantic.AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return value

    return pydantic.AfterValidator(check)


# Times


def DateField(**options: Unpack[KeyOptions]) -> Declared:
    """Declare a day."""
    return _make(sa.Date(), **options)


def DateTimeField(
    *, auto_now: bool = False, auto_now_add: bool = False, **options: Unpack[KeyOptions]
) -> Declared:
    """Declare a point in time, which comes back aware and in UTC.

    Args:
        auto_now: set the current time at every save.
        auto_now_add: set the current time at the first save.
        options: as for every field.
    """
    return _make(UTCDateTime(), auto_now=auto_now, auto_now_add=auto_now_add, **options)


def TimeField(**options: Unpack[KeyOptions]) -> Declared:
    """Declare a time of day, without a zone."""
    return _make(sa.Time(), **options)


def current_time() -> dt.datetime:
    """Return the current time, aware and in UTC."""
    return dt.datetime.now(dt.UTC)


# Other types


def BinaryField(*, max_length: int | None = None, **options: Unpack[KeyOptions]) -> Declared:
    """Declare bytes. In an event they are base64 text."""
    # pydantic would read base64 as the bytes of the text; the snapshot's type decodes base64.
    limits: dict[str, Value] = {} if max_length is None else {"max_length": max_length}
    column = sa.LargeBinary(max_length)
    return _make(column, snapshot_type=pydantic.Base64Bytes, **limits, **options)


def UUIDField(**options: Unpack[KeyOptions]) -> Declared:
    """Declare a UUID; `UUIDField(primary_key=True, default=uuid.uuid4)` makes keys without SQL."""
    return _make(sa.Uuid(), **options)


def JSONField(**options: Unpack[FieldOptions]) -> Declared:
    """Declare a value of JSON."""
    return _make(json_type(), **options)


def ForeignKey(to: Target, *, on_delete: str = RESTRICT, **options: Unpack[KeyOptions]) -> Declared:
    """Declare the primary key of a row of another model.

    `await instance.related("owner")` loads that row.

    Args:
        to: the model, or `"self"`. An instance of the model may be assigned: its key is taken.
        on_delete: the action of the database when that row is deleted: RESTRICT, CASCADE or
            SET_NULL. Rows that the database deletes or changes send no signals.
        options: as for every field.

    Raises:
        ModelError: for a model without a table, another `on_delete`, or SET_NULL on a field that is
            not `null=True`.
    """
    if on_delete not in (RESTRICT, CASCADE, SET_NULL):
        raise ModelError(f"on_delete={on_delete!r}: use {RESTRICT!r}, {CASCADE!r} or {SET_NULL!r}")
    if on_delete == SET_NULL and not options.get("null"):
        raise ModelError("on_delete=SET_NULL needs null=True")
    if to == "self":
        # The class does not exist yet, and its key is a BigIntegerField in most models.
        column: ColumnType = big_key()
    elif isinstance(to, type) and hasattr(to, "meta"):
        meta = to.meta
        column = meta.table.c[meta.pk].type
    else:
        raise ModelError(f'ForeignKey takes a model or "self", not {to!r}')
    validators = [pydantic.BeforeValidator(key_of)]
    return _make(column, references=to, on_delete=on_delete, validators=validators, **options)


def key_of(value: Value) -> Value:
    """Return the primary key of a model's instance, and any other value as it is."""
    # The class has the attribute: an instance could have a field of the same name.
    return value.pk if hasattr(type(value), "meta") else value
