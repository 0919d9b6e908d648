"""The rules of fields that depend on the annotation, and of values that databases cannot store.

pydantic knows a limit of length for text, but not for the text of a URL or of an Enum. The rules
here look at the annotated type when pydantic builds its validators.
"""

import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic
from pydantic_core import CoreSchema, core_schema

from edgy_bus.database import as_utc
from edgy_bus.errors import OperationError
from edgy_bus.sources import Value

_Handler = pydantic.GetCoreSchemaHandler


@dataclass(frozen=True, slots=True)
class AtMost:
    """Limit the length of the text that is stored.

    Attributes:
        length: the greatest length.
        dump: returns the text of a value whose type is not text; known once the class is.
    """

    length: int
    dump: Callable[[Value], Value] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> CoreSchema:
        schema = handler(source)
        if _limit(schema, "str", {"max_length": self.length}):
            return schema
        return core_schema.no_info_after_validator_function(self._check, schema)

    def _check(self, value: Value) -> Value:
        if value is not None and len(self.dump(value)) > self.length:
            raise ValueError(f"the text has more than {self.length} characters")
        return value


@dataclass(frozen=True, slots=True)
class Between:
    """Limit a whole number to what the column can store."""

    least: int
    greatest: int

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> CoreSchema:
        schema = handler(source)
        if _limit(schema, "int", {"ge": self.least, "le": self.greatest}):
            return schema
        return core_schema.no_info_after_validator_function(self._check, schema)

    def _check(self, value: Value) -> Value:
        number = value.value if isinstance(value, enum.Enum) else value
        if isinstance(number, int) and not self.least <= number <= self.greatest:
            raise ValueError(f"the number is not between {self.least} and {self.greatest}")
        return value


def _limit(schema: CoreSchema, kind: str, limits: dict[str, Value]) -> bool:
    """Add limits to a schema of a kind, also inside Optional; return whether it is such a schema.

    A stricter limit of the schema stays.
    """
    # A limit in the schema of pydantic's own type is checked without a call of Python.
    inner: Any = schema
    while inner["type"] in ("nullable", "default"):
        inner = inner["schema"]
    if inner["type"] != kind:
        return False
    for name, limit in limits.items():
        choose: Callable[[Value, Value], Value] = max if name == "ge" else min
        inner[name] = choose(limit, inner.get(name, limit))
    return True


def is_among(choices: tuple[str, ...]) -> pydantic.AfterValidator:
    """Return the rule that a value, or the value of an Enum's member, is one of the choices."""

    def check(value: Value) -> Value:
        plain = value.value if isinstance(value, enum.Enum) else value
        if plain not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return value

    return pydantic.AfterValidator(check)


def _has_no_zone(value: dt.time) -> dt.time:
    if isinstance(value, dt.time) and value.tzinfo is not None:
        raise ValueError("a TimeField stores no zone: use a DateTimeField, or leave the zone out")
    return value


def _fits_utc(value: dt.datetime) -> dt.datetime:
    if isinstance(value, dt.datetime) and beyond_utc(value):
        raise ValueError("the time in UTC is before the year 1 or after the year 9999")
    return value


def beyond_utc(value: dt.datetime) -> int:
    """Return 1 for a time after the last time of UTC, -1 before the first, 0 between both."""
    try:
        as_utc(value)
    except OverflowError:
        return 1 if value.year > 1 else -1
    return 0


def _fits_microseconds(value: dt.timedelta) -> dt.timedelta:
    if isinstance(value, dt.timedelta) and abs(value) > LONGEST:
        raise ValueError(f"the duration is longer than {LONGEST.days:,} days")
    return value


LONGEST = dt.timedelta(days=99_420)
"""The longest duration of which a float of seconds keeps every microsecond: 272 years."""

HAS_NO_ZONE = pydantic.AfterValidator(_has_no_zone)
FITS_UTC = pydantic.AfterValidator(_fits_utc)
FITS_MICROSECONDS = pydantic.AfterValidator(_fits_microseconds)


# Keys


@dataclass(frozen=True, slots=True)
class KeyOf:
    """Take an instance of a model as its primary key, and any other value as it is.

    `model` is None while the class of a reference to itself does not exist.
    """

    model: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: _Handler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._key, handler(source))

    def _key(self, value: Value) -> Value:
        try:
            key = key_of(value, self.model)
        except OperationError as error:
            raise ValueError(str(error)) from None
        # A new row may have a key of its own, from a default: no row has the key yet.
        if key is not value and is_instance(value) and not value._edgy_is_saved():
            name = type(value).__name__
            raise ValueError(f"the {name} is not saved: save it first, or give its key")
        return key


def is_instance(value: object) -> bool:
    """Return whether a value is an instance of a model."""
    # The class has the attribute: an instance could have a field of the same name.
    return hasattr(getattr(type(value), "meta", None), "fields")


def key_of(value: Value, model: Any) -> Value:
    """Return the primary key of an instance of `model`, and any other value as it is.

    Raises `OperationError` for an instance that was never saved, or of another model.
    """
    if not is_instance(value):
        return value
    name = type(value).__name__
    if model is None or not isinstance(value, model):
        expected = "the model itself" if model is None else model.__name__
        raise OperationError(f"an instance of {name} is no key of {expected}")
    if value.pk is None:
        raise OperationError(f"the {name} was never saved and has no key: save it first")
    return value.pk
