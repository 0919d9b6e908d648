"""The fields of a model: pydantic fields that also describe a column.

A field function returns what pydantic's `Field()` returns, so that pydantic validates the annotated
attribute of a model. The description of the column is part of the field's metadata.
"""

import datetime as dt
import enum
import functools
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, Unpack, cast

import pydantic
import sqlalchemy as sa
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from sqlalchemy.types import TypeEngine

from edgy_bus.database import (
    Conversion,
    Duration,
    ExactDecimal,
    PlainUuid,
    UTCDateTime,
    big_key,
    float_type,
    json_type,
)
from edgy_bus.errors import ModelError
from edgy_bus.models.rules import (
    FITS_MICROSECONDS,
    FITS_UTC,
    HAS_NO_ZONE,
    AtMost,
    Between,
    KeyOf,
    is_among,
)
from edgy_bus.signals import suggestion
from edgy_bus.sources import HIDDEN, Value

REQUIRED: Value = PydanticUndefined

RESTRICT, CASCADE, SET_NULL = "RESTRICT", "CASCADE", "SET NULL"
"""Actions of the database on rows that refer to a deleted row."""

Declared = Any
"""The result of a field function, which type checkers must accept for every annotation."""

ColumnType = TypeEngine[Any]
Target = Any
"""A model, or `"self"`."""


F = TypeVar("F", bound=Callable[..., Any])


class _Custom(Protocol):
    """A type with a schema of its own, which may have any form in the column."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Value, handler: Value, /) -> Value: ...


_Plain = str | Decimal | uuid.UUID | dt.date | dt.time | dt.timedelta | PurePath | enum.Enum
"""The types whose values JSON writes as text, so that a column of text can store them."""

_TextLike = _Plain | _Custom
_KeyLike = _Plain | int | bytes

# The result of a field function has the type of the annotation, if the column can store that type,
# and the default otherwise: a checker refuses `wrong: int = CharField()`. The declaration of a
# class checks the annotation exactly. mypy looks at the annotation for `T | Any`, and not for `T`.
if TYPE_CHECKING:
    from typing_extensions import TypeVar as Result

    _Number = Result("_Number", bound=int | enum.Enum | _Custom | None, default=int)
    _Truth = Result("_Truth", bound=bool | _Custom | None, default=bool)
    _Float = Result("_Float", bound=float | _Custom | None, default=float)
    _Decimal = Result("_Decimal", bound=Decimal | _Custom | None, default=Decimal)
    _Bytes = Result("_Bytes", bound=bytes | _Custom | None, default=bytes)
    _Date = Result("_Date", bound=dt.date | _Custom | None, default=dt.date)
    _DateTime = Result("_DateTime", bound=dt.datetime | _Custom | None, default=dt.datetime)
    _Time = Result("_Time", bound=dt.time | _Custom | None, default=dt.time)
    _Duration = Result("_Duration", bound=dt.timedelta | _Custom | None, default=dt.timedelta)
    _Uuid = Result("_Uuid", bound=uuid.UUID | _Custom | None, default=uuid.UUID)
    _Choice = Result("_Choice", bound=str | enum.Enum | None, default=str)
    _Text = Result("_Text", bound=_TextLike | None, default=str)
    _Key = Result("_Key", bound=_KeyLike | None, default=int)
else:
    _Number = _Truth = _Float = _Decimal = _Bytes = _Date = _DateTime = _Time = _Duration = Any
    _Uuid = _Choice = _Text = _Key = Any


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a field's column, as the field function knows it.

    Attributes:
        function: the name of the field function.
        column_type: the type of the column.
        natural: the Python type of the column's values; `object` for JSON.
        limits: the least and the greatest whole number, for columns of whole numbers.
        choices: the Enum of a ChoiceField.
        texts: the stored texts of a ChoiceField.
    """

    function: str
    column_type: ColumnType
    natural: type
    limits: tuple[int, int] | None = None
    choices: type[enum.Enum] | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """The description of a field beyond pydantic.

    Attributes:
        kind: the type of the column.
        primary_key: whether the field is the primary key.
        generated: whether the database makes a missing value.
        null: whether the column may be NULL.
        unique: whether values are unique.
        index: whether the column has an index.
        secret: whether values stay in the database: never in an event, a log or a repr.
        auto_now: whether every save sets the current time.
        auto_now_add: whether the first save sets the current time.
        references: the model, or `"self"`, whose primary key the field contains.
        on_delete: the action of the database when that row is deleted.
        rules: the rules of the field function among pydantic's metadata.
        column_type: the type of the column, with the conversion to the annotated type.
        annotation: the annotated type, without None and rules; known once the class is.
        conversion: the conversion between the annotated type and the column's values, if any.
        adapter: converts values of lookups to the annotated type.
    """

    kind: Kind
    primary_key: bool = False
    generated: bool = False
    null: bool = False
    unique: bool = False
    index: bool = False
    secret: bool = False
    auto_now: bool = False
    auto_now_add: bool = False
    references: Target = None
    on_delete: str | None = None
    rules: tuple[object, ...] = ()
    column_type: ColumnType = sa.types.NULLTYPE
    annotation: Any = None
    conversion: Conversion | None = None
    adapter: pydantic.TypeAdapter[Any] | None = None

    @property
    def is_made(self) -> bool:
        """Return whether the database or a save makes the value, so that it may be missing."""
        return self.generated or self.auto_now or self.auto_now_add

    @property
    def rules_of_values(self) -> list[object]:
        """Return the rules that hold for references to this key as well."""
        return [rule for rule in self.rules if not isinstance(rule, KeyOf)]

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
            info={HIDDEN: self.secret},
        )

    def _target(self) -> str:
        if self.references is None:
            return ""
        return f"{self.references.meta.tablename}.{self.references.meta.pk}"


class FieldOptions(TypedDict, total=False):
    """The keywords of every field function: options of the column, and options of pydantic."""

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
    strict: bool
    frozen: bool
    validate_default: bool
    alias: str
    validation_alias: str | pydantic.AliasPath | pydantic.AliasChoices
    serialization_alias: str
    title: str
    description: str
    examples: list[Value]
    deprecated: str | bool
    exclude: bool
    repr: bool
    json_schema_extra: dict[str, Value] | Callable[[dict[str, Value]], None]


class KeyOptions(FieldOptions, total=False):
    """The keywords of fields whose values the application gives, also as a primary key."""

    primary_key: bool


class TextOptions(KeyOptions, total=False):
    """The keywords of fields of text."""

    pattern: str


def _closed(options: type) -> Callable[[F], F]:
    """Refuse keywords that neither the decorated field function nor its options have."""

    # pydantic would keep an unknown keyword for JSON schemas: `secrett=True` would hide nothing.
    def decorate(function: F) -> F:
        named = [
            name
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        signature = inspect.signature(function)
        names = _OPTIONS_OF[function.__name__] = [*named, *options.__annotations__]

        @functools.wraps(function)
        def declare(*args: Value, **kwargs: Value) -> Declared:
            for name, value in kwargs.items():
                if name not in names:
                    hint = _hint_for(name, names)
                    raise ModelError(f"{function.__name__} has no option {name!r}{hint}")
                _check_option(function.__name__, name, value)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise ModelError(
                    f"{function.__name__}: {error}; write {_call_of(signature, function.__name__)}"
                ) from None
            return function(*args, **kwargs)

        return cast(F, declare)

    return decorate


_OPTIONS_OF: dict[str, list[str]] = {}
"""The names of the options of each field function."""

_FLAGS = (
    *("null", "unique", "index", "secret", "primary_key", "auto_now", "auto_now_add"),
    *("repr", "exclude", "frozen", "strict", "validate_default"),
)
_LEAST = {"max_length": 1, "max_digits": 1, "min_length": 0, "decimal_places": 0}
"""The options that are whole numbers, with the least number of each."""


def _hint_for(name: str, names: Sequence[str]) -> str:
    """Return the end of the error about an unknown option of a field function."""
    owners = [owner for owner, options in _OPTIONS_OF.items() if name in options]
    if owners:
        return f": it is an option of {', '.join(owners)}"
    return suggestion(name, names, "the options are")


def _check_option(function: str, name: str, value: Value) -> None:
    """Check the value of an option. Raises `ModelError`."""
    if name in _FLAGS and not isinstance(value, bool):
        raise ModelError(f"{function}({name}={value!r}): write True or False")
    least = _LEAST.get(name)
    if least is None or value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ModelError(f"{function}({name}={value!r}): write a whole number of at least {least}")


def _call_of(signature: inspect.Signature, function: str) -> str:
    """Return the shortest call of a field function, as a program writes it."""
    required = [each for each in signature.parameters.values() if each.default is each.empty]
    words = [
        "Model" if each.kind is each.POSITIONAL_OR_KEYWORD else f"{each.name}=…"
        for each in required
        if each.kind is not each.VAR_KEYWORD
    ]
    return f"{function}({', '.join(words)})"


def field_of(info: FieldInfo) -> Field | None:
    """Return the model's part of a pydantic field; None for a field of pydantic alone."""
    return next((part for part in info.metadata if isinstance(part, Field)), None)


def _none_passes(value: Value, handler: Callable[[Value], Value]) -> Value:
    return None if value is None else handler(value)


def _make(
    kind: Kind,
    *,
    default: Value = REQUIRED,
    null: bool = False,
    primary_key: bool = False,
    generated: bool = False,
    unique: bool = False,
    index: bool = False,
    secret: bool = False,
    repr: bool = True,
    auto_now: bool = False,
    auto_now_add: bool = False,
    references: Target = None,
    on_delete: str | None = None,
    rules: Sequence[object] = (),
    **constraints: Value,
) -> Declared:
    field = Field(
        kind=kind,
        primary_key=primary_key,
        generated=generated,
        null=null,
        unique=unique,
        index=index,
        secret=secret,
        auto_now=auto_now,
        auto_now_add=auto_now_add,
        references=references,
        on_delete=on_delete,
        rules=tuple(rules),
        column_type=kind.column_type,
    )
    if primary_key:
        _check_key(field, default)
    # An instance may lack the value until the database or a save makes the value.
    if default is REQUIRED and (null or field.is_made):
        default = None
    keyword = "default_factory" if callable(default) else "default"
    shows = repr and not secret
    # pydantic's annotations do not know that a field's keywords may come from a mapping.
    info = cast(FieldInfo, pydantic.Field(repr=shows, **{keyword: default}, **constraints))
    info.metadata += [field, *rules]
    # Last, because pydantic runs the last validator first: None must not reach the others.
    if null or field.is_made:
        info.metadata.append(NONE_PASSES)
    return info


def _check_key(field: Field, default: Value) -> None:
    if field.null:
        raise ModelError("a primary key cannot be null")
    if field.secret:
        raise ModelError("a primary key cannot be secret: events name their row by the key")
    if default is None and not field.generated:
        raise ModelError("a primary key cannot be None: leave the default out")


NONE_PASSES = pydantic.WrapValidator(_none_passes)


# Numbers


@_closed(FieldOptions)
def IntegerField(*, primary_key: bool = False, **options: Unpack[FieldOptions]) -> _Number | Any:
    """Declare a whole number of 32 bits. The database generates primary keys."""
    return _whole_number("IntegerField", sa.Integer(), 31, primary_key, options)


@_closed(FieldOptions)
def BigIntegerField(*, primary_key: bool = False, **options: Unpack[FieldOptions]) -> _Number | Any:
    """Declare a whole number of 64 bits. The database generates primary keys."""
    return _whole_number("BigIntegerField", big_key(), 63, primary_key, options)


def _whole_number(
    function: str, column: ColumnType, bits: int, primary_key: bool, options: Mapping[str, Value]
) -> Declared:
    # SQLite has no columns of 32 bits: it would store numbers that PostgreSQL refuses.
    limits = (-(2**bits), 2**bits - 1)
    kind = Kind(function, column, int, limits=limits)
    rules = [Between(*limits)]
    return _make(kind, primary_key=primary_key, generated=primary_key, rules=rules, **options)


@_closed(KeyOptions)
def BooleanField(**options: Unpack[KeyOptions]) -> _Truth | Any:
    """Declare a truth value."""
    return _make(Kind("BooleanField", sa.Boolean(), bool), **options)


@_closed(KeyOptions)
def FloatField(**options: Unpack[KeyOptions]) -> _Float | Any:
    """Declare a number of 64 bits."""
    # JSON, and so an event, has neither NaN nor infinities.
    return _make(Kind("FloatField", float_type(), float), allow_inf_nan=False, **options)


@_closed(KeyOptions)
def DecimalField(
    *, max_digits: int, decimal_places: int, **options: Unpack[KeyOptions]
) -> _Decimal | Any:
    """Declare an exact number of `max_digits` digits, `decimal_places` of them after the point."""
    if not 0 <= decimal_places <= max_digits or not 0 < max_digits <= 1_000:
        raise ModelError(
            f"DecimalField(max_digits={max_digits}, decimal_places={decimal_places}): "
            "write 1 to 1000 digits, and no more places than digits"
        )
    kind = Kind("DecimalField", ExactDecimal(max_digits, decimal_places), Decimal)
    return _make(kind, max_digits=max_digits, decimal_places=decimal_places, **options)


# Text


@_closed(TextOptions)
def CharField(*, max_length: int, **options: Unpack[TextOptions]) -> _Text | Any:
    """Declare text of at most `max_length` characters."""
    kind = Kind("CharField", sa.String(max_length), str)
    return _make(kind, rules=[AtMost(max_length)], **options)


@_closed(TextOptions)
def TextField(*, max_length: int | None = None, **options: Unpack[TextOptions]) -> _Text | Any:
    """Declare text of any length, or of at most `max_length` characters."""
    rules = [] if max_length is None else [AtMost(max_length)]
    return _make(Kind("TextField", sa.Text(), str), rules=rules, **options)


@_closed(KeyOptions)
def EmailField(*, max_length: int = 254, **options: Unpack[KeyOptions]) -> _Text | Any:
    """Declare an address: some text, an @, some text with a dot, and no blanks."""
    # Only a message to an address proves more than this pattern.
    pattern = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
    kind = Kind("EmailField", sa.String(max_length), str)
    return _make(kind, rules=[AtMost(max_length)], pattern=pattern, **options)


@_closed(KeyOptions)
def ChoiceField(
    choices: type[enum.Enum] | Sequence[str], **options: Unpack[KeyOptions]
) -> _Choice | Any:
    """Declare a member of an Enum, stored by its value (text), or one of several texts."""
    if isinstance(choices, str):
        raise ModelError(
            f"ChoiceField({choices!r}): write several texts, or an Enum: "
            f'ChoiceField(("{choices}", "…"))'
        )
    members = choices if isinstance(choices, type) else None
    texts = [member.value if isinstance(member, enum.Enum) else member for member in choices]
    # Not a native enum of PostgreSQL, to which a migration can add members only one by one.
    column = sa.String(_longest(texts))
    kind = Kind("ChoiceField", column, str, choices=members, texts=tuple(texts))
    return _make(kind, rules=[is_among(kind.texts)], **options)


def _longest(texts: Sequence[Value]) -> int:
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ModelError(
            f"the choices of a ChoiceField are texts, and at least one: not {list(texts)!r}"
        )
    return max(len(text) for text in texts)


# Times


@_closed(KeyOptions)
def DateField(**options: Unpack[KeyOptions]) -> _Date | Any:
    """Declare a day."""
    return _make(Kind("DateField", sa.Date(), dt.date), **options)


@_closed(KeyOptions)
def DateTimeField(
    *, auto_now: bool = False, auto_now_add: bool = False, **options: Unpack[KeyOptions]
) -> _DateTime | Any:
    """Declare a point in time, which comes back aware and in UTC.

    Args:
        auto_now: set the current time at every save.
        auto_now_add: set the current time at the first save.
        options: as for every field.
    """
    kind = Kind("DateTimeField", UTCDateTime(), dt.datetime)
    rules = [FITS_UTC]
    return _make(kind, auto_now=auto_now, auto_now_add=auto_now_add, rules=rules, **options)


@_closed(KeyOptions)
def TimeField(**options: Unpack[KeyOptions]) -> _Time | Any:
    """Declare a time of day, without a zone."""
    return _make(Kind("TimeField", sa.Time(), dt.time), rules=[HAS_NO_ZONE], **options)


@_closed(KeyOptions)
def DurationField(**options: Unpack[KeyOptions]) -> _Duration | Any:
    """Declare a `timedelta` of at most 272 years. In an event it is a number of seconds."""
    kind = Kind("DurationField", Duration(), dt.timedelta)
    return _make(kind, rules=[FITS_MICROSECONDS], **options)


def current_time() -> dt.datetime:
    """Return the current time, aware and in UTC."""
    return dt.datetime.now(dt.UTC)


# Other types


@_closed(KeyOptions)
def BinaryField(*, max_length: int | None = None, **options: Unpack[KeyOptions]) -> _Bytes | Any:
    """Declare bytes. In an event they are base64 text."""
    limits: dict[str, Value] = {} if max_length is None else {"max_length": max_length}
    return _make(Kind("BinaryField", sa.LargeBinary(max_length), bytes), **limits, **options)


@_closed(KeyOptions)
def UUIDField(**options: Unpack[KeyOptions]) -> _Uuid | Any:
    """Declare a UUID; `UUIDField(primary_key=True, default=uuid.uuid4)` makes keys without SQL."""
    return _make(Kind("UUIDField", PlainUuid(), uuid.UUID), **options)


@_closed(FieldOptions)
def JSONField(**options: Unpack[FieldOptions]) -> Declared:
    """Declare a value of JSON, of any type that pydantic can write as JSON and read again."""
    return _make(Kind("JSONField", json_type(), object), **options)


@_closed(KeyOptions)
def ForeignKey(
    to: Target, *, on_delete: str = RESTRICT, **options: Unpack[KeyOptions]
) -> _Key | Any:
    """Declare the primary key of a row of another model.

    `await instance.related("owner")` loads that row. The field is annotated with the type of the
    key: `owner: int = edgy_bus.ForeignKey(Owner)`.

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
        # The class does not exist yet: the kind of its key is taken when the class is complete.
        return _make(
            Kind("ForeignKey", sa.types.NULLTYPE, object),
            references=to,
            on_delete=on_delete,
            rules=[KeyOf(None)],
            **options,
        )
    if not (isinstance(to, type) and hasattr(to, "meta")):
        hint = f": write ForeignKey({to}), after the class" if isinstance(to, str) else ""
        raise ModelError(f'ForeignKey takes a model or "self", not {to!r}{hint}')
    # `table` raises an error for a model without a table.
    key = to.meta.fields[to.meta.table.primary_key.columns[0].name]
    rules = [*key.rules_of_values, KeyOf(to)]
    return _make(key.kind, references=to, on_delete=on_delete, rules=rules, **options)
