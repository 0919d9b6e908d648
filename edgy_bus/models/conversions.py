"""Make the conversion of a field whose annotation differs from the type of its column."""

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pydantic
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_json

from edgy_bus.database import Conversion
from edgy_bus.errors import DatabaseError, ModelError, OperationError
from edgy_bus.models.annotations import (
    Annotation,
    has_sets,
    hides_values,
    is_json,
    json_schema,
    json_types,
    relaxed,
    shown,
    with_metadata,
)
from edgy_bus.sources import Value

Adapter = pydantic.TypeAdapter[Any]

_JSON_TYPES: dict[type, str] = {str: "string", int: "integer", float: "number"}
"""The columns whose values may be the JSON form of another type."""

_SECRETS: Mapping[type, Any] = {str: pydantic.SecretStr, bytes: pydantic.SecretBytes}

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError)


def holds_secret(annotation: Annotation) -> bool:
    """Return whether values of an annotation hide themselves."""
    return annotation in _SECRETS.values()


def adapter_of(annotation: Annotation, metadata: Sequence[Value], where: str) -> Adapter:
    """Return the adapter of an annotation without its rules. Raises `ModelError` without one."""
    try:
        return pydantic.TypeAdapter(with_metadata(relaxed(annotation), metadata))
    # The error of pydantic names a class of pydantic's, but not the field.
    except PydanticUserError as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{where} is annotated with {shown(annotation)}, which pydantic cannot read: {reason}"
        ) from error


def conversion_of(
    annotation: Annotation, natural: type, adapter: Adapter, where: str
) -> Conversion | None:
    """Return the conversion between an annotation and a column; None if there is no way.

    Args:
        annotation: the type of the field's values.
        natural: the type of the column's values; `object` for JSON.
        adapter: the adapter of the annotation.
        where: the model and the field, for errors.

    Raises:
        ModelError: for a secret inside JSON.
    """
    if natural is object:
        return _json_conversion(annotation, adapter, where)
    name, secret = shown(annotation), _SECRETS.get(natural)
    if secret is not None and annotation is secret:
        return Conversion(name, secret.get_secret_value, secret)
    if _is_enum_of(annotation, natural):
        return Conversion(name, *_guarded(_value_of(annotation), annotation, annotation, where))
    schema = json_schema(adapter)
    if schema is None or hides_values(schema):
        return None
    if json_types(schema, schema) != {_JSON_TYPES.get(natural)}:
        return None
    return Conversion(name, *_guarded(*_through(adapter), annotation, where))


def _is_enum_of(annotation: Annotation, natural: type) -> bool:
    if not isinstance(annotation, type) or not issubclass(annotation, enum.Enum):
        return False
    return all(type(member.value) is natural for member in annotation)


def _value_of(members: type[enum.Enum]) -> Callable[[Value], Value]:
    # Through the class, because a program may assign a value that was never validated.
    return lambda value: members(value).value


def _json_conversion(annotation: Annotation, adapter: Adapter, where: str) -> Conversion:
    if is_json(annotation):
        checked, _ = _guarded(json_value, json_value, annotation, where)
        return Conversion(shown(annotation), checked, None)
    schema = json_schema(adapter)
    if schema is not None and hides_values(schema):
        raise ModelError(
            f"{where}: a secret inside JSON would be stored as asterisks: "
            "annotate a plain str inside, and give the field secret=True"
        )
    write, read = _through(adapter)
    holds_sets = schema is None or has_sets(schema)

    def dump(value: Value) -> Value:
        written = write(value)
        if holds_sets:
            written = _with_sorted_sets(written, adapter.dump_python(value, round_trip=True))
        return json_value(written)

    return Conversion(shown(annotation), *_guarded(dump, read, annotation, where))


def _with_sorted_sets(written: Value, original: Value) -> Value:
    """Return JSON with the elements of sets in a fixed order: equal sets are equal in JSON.

    `original` is the same value before it became JSON.
    """
    if isinstance(original, set | frozenset):
        return sorted(written, key=to_json)
    if isinstance(original, dict) and isinstance(written, dict):
        # Both have the same order; the names of `original` may be numbers or dates.
        parts = zip(written.items(), original.values(), strict=True)
        return {name: _with_sorted_sets(part, source) for (name, part), source in parts}
    if isinstance(original, list | tuple) and isinstance(written, list):
        return [_with_sorted_sets(*parts) for parts in zip(written, original, strict=True)]
    return written


def _through(adapter: Adapter) -> tuple[Callable[[Value], Value], Callable[[Value], Value]]:
    """Return the functions that write and read the JSON form of an annotation."""

    # By the names of the fields, so that another alias does not make stored values unreadable.
    def write(value: Value) -> Value:
        return adapter.dump_python(
            value, mode="json", by_alias=False, round_trip=True, warnings="error"
        )

    # As JSON, because strict models take dates and sets from JSON only.
    def read(stored: Value) -> Value:
        return adapter.validate_json(to_json(stored), by_alias=False, by_name=True)

    return write, read


def _guarded(
    dump: Callable[[Value], Value],
    load: Callable[[Value], Value],
    annotation: Annotation,
    where: str,
) -> tuple[Callable[[Value], Value], Callable[[Value], Value]]:
    """Return both functions with the errors of this library, which contain no values."""

    def guarded_dump(value: Value) -> Value:
        try:
            return dump(value)
        except NotJson as error:
            raise OperationError(f"{where} cannot be written as JSON: {error}") from None
        except (PydanticSerializationError, RecursionError, *_UNREADABLE):
            raise OperationError(
                f"{where}: a value of {type(value).__name__} is not of {shown(annotation)}"
            ) from None

    def guarded_load(stored: Value) -> Value:
        try:
            return load(stored)
        except _UNREADABLE:
            raise DatabaseError(
                f"{where}: a stored value is not of {shown(annotation)} any more: "
                "change the rows, or an annotation that reads them"
            ) from None

    return guarded_dump, guarded_load


# JSON of any type


class NotJson(ValueError):
    """Report a value that has no form in JSON; the text contains no value."""


def json_value(value: Value) -> Value:
    """Return a value as JSON returns it: tuples as lists, and objects in the order of their names.

    Raises:
        NotJson: for another type, a name that is no text, a number that JSON does not have, or a
            whole number beyond 64 bits.
    """
    if type(value) is str:
        return _json_text(value)
    # In the order of the names, because SQLite compares JSON as text.
    if isinstance(value, enum.Enum):
        return json_value(value.value)
    if isinstance(value, dict):
        return {_json_name(name): json_value(value[name]) for name in _in_order(value)}
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    return _json_scalar(value)


def _json_scalar(value: Value) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _json_text(value)
    if isinstance(value, int):
        return _json_integer(int(value))
    if not isinstance(value, float):
        raise NotJson(
            f"{type(value).__name__} is no type of JSON: annotate the field with the type"
        )
    if not math.isfinite(value):
        raise NotJson("JSON has neither NaN nor infinities")
    return float(value)


def _in_order(value: dict[Value, Value]) -> list[Value]:
    return sorted(value, key=str)


def _json_name(name: Value) -> str:
    if not isinstance(name, str):
        raise NotJson(f"the names in JSON are texts, not {type(name).__name__}")
    return _json_text(name)


def _json_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotJson("a text contains half of a surrogate pair") from None
    return str.__str__(text)


def _json_integer(number: int) -> int | float:
    if -(2**63) <= number < 2**64:
        return number
    # PostgreSQL returns the number 1e22 as a whole number if another program wrote it. The row can
    # be stored again, as the float that its events contain.
    with suppress(OverflowError):
        if number == int(Decimal(repr(float(number)))):
            return float(number)
    raise NotJson("a whole number has more than 64 bits")
