"""Understand the annotation of a field: its type, whether it allows None, and its form in JSON."""

import datetime as dt
import types
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypeVar, Union

import pydantic
from pydantic.errors import PydanticUserError
from pydantic.warnings import PydanticDeprecatedSince20

from edgy_bus.sources import Value

Annotation = Any
"""A type, or a special form of `typing`."""

_UNIONS = (Union, types.UnionType)

_PLAIN_VALUES: Mapping[Annotation, type] = {
    pydantic.AwareDatetime: dt.datetime,
    pydantic.PastDatetime: dt.datetime,
    pydantic.FutureDatetime: dt.datetime,
    pydantic.PastDate: dt.date,
    pydantic.FutureDate: dt.date,
    pydantic.EmailStr: str,
}
"""The types of pydantic that are rules only: their values are of a built-in type."""


def _origin(annotation: Annotation) -> Annotation:
    return typing.get_origin(annotation)


class Stripped(NamedTuple):
    """An annotation in parts.

    Attributes:
        type: the type, without None, aliases and metadata.
        allows_none: whether None is a value.
        metadata: the metadata of `Annotated`.
    """

    type: Annotation
    allows_none: bool = False
    metadata: tuple[Value, ...] = ()


def stripped(annotation: Annotation) -> Stripped:
    """Return an annotation without `Annotated`, aliases and None."""
    origin = _origin(annotation)
    if origin is Annotated:
        inner = stripped(annotation.__origin__)
        return inner._replace(metadata=(*inner.metadata, *annotation.__metadata__))
    if isinstance(annotation, NewType):
        return stripped(annotation.__supertype__)
    # `type Name = …` of Python 3.12, and of typing_extensions.
    if type(annotation).__name__ == "TypeAliasType" and annotation is not pydantic.JsonValue:
        return stripped(annotation.__value__)
    if annotation is None or annotation is type(None):
        return Stripped(type(None), allows_none=True)
    if origin in _UNIONS:
        return _stripped_union(typing.get_args(annotation))
    return Stripped(
        _PLAIN_VALUES.get(annotation, annotation) if _hashable(annotation) else annotation
    )


def _stripped_union(members: tuple[Annotation, ...]) -> Stripped:
    parts = {member: stripped(member) for member in members}
    allows_none = any(part.allows_none for part in parts.values())
    kept = [member for member, part in parts.items() if part.type is not type(None)]
    # A single type keeps its metadata; pydantic reads the members of a union with theirs.
    if len(kept) == 1:
        return parts[kept[0]]._replace(allows_none=allows_none)
    return Stripped(union_of(kept) if kept else type(None), allows_none)


def _hashable(annotation: Annotation) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def union_of(members: Iterable[Annotation]) -> Annotation:
    """Return the union of annotations that are known at run time only."""
    return Union[tuple(members)]  # noqa: UP007 - `|` takes no list of members, and no text


def relaxed(annotation: Annotation) -> Annotation:
    """Return an annotation without its rules, which hold for given values, not for stored ones."""
    origin, arguments = _origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        base, *metadata = arguments
        return with_metadata(relaxed(base), metadata)
    if not arguments or origin is Literal:
        return annotation
    parts = tuple(relaxed(part) for part in arguments)
    if parts == arguments:
        return annotation
    if origin in _UNIONS:
        return union_of(parts)
    return origin[parts]


def with_metadata(annotation: Annotation, metadata: Iterable[Value]) -> Annotation:
    """Return an annotation with the part of the metadata that makes its values."""
    makers = [part for part in metadata if _makes_values(part)]
    return Annotated[(annotation, *makers)] if makers else annotation


def _makes_values(metadata: Value) -> bool:
    # A limit, like `Gt(0)`, has no schema of its own; a validator that runs after the conversion
    # is a rule.
    has_schema = hasattr(metadata, "__get_pydantic_core_schema__")
    return has_schema and not isinstance(metadata, pydantic.AfterValidator)


def is_unresolved(annotation: Annotation) -> bool:
    """Return whether an annotation depends on a type variable."""
    if isinstance(annotation, TypeVar):
        return True
    return any(is_unresolved(part) for part in typing.get_args(annotation))


def consists_of(annotation: Annotation, natural: type) -> bool:
    """Return whether all values of an annotation are of exactly this type."""
    origin, arguments = _origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return all(type(value) is natural for value in arguments)
    if origin in _UNIONS:
        return all(consists_of(stripped(part).type, natural) for part in arguments)
    return annotation is natural


def is_json(annotation: Annotation) -> bool:
    """Return whether JSON text becomes the values of an annotation without a conversion."""
    if annotation is pydantic.JsonValue or annotation in (Any, object, dict, list, str, int, bool):
        return True
    origin, arguments = _origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return all(type(value) in (str, int, bool) for value in arguments)
    if origin is dict:
        return arguments[0] in (str, Any) and is_json(stripped(arguments[1]).type)
    if origin is list or origin in _UNIONS:
        # A float is missing: PostgreSQL returns 1e22 as a whole number if another program wrote it.
        return all(is_json(stripped(part).type) for part in arguments)
    return annotation is type(None)


# The form in JSON


def json_schema(adapter: pydantic.TypeAdapter[Any]) -> Mapping[str, Value] | None:
    """Return the JSON schema of the values that pydantic writes; None if pydantic knows none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return adapter.json_schema(mode="serialization")
    except (PydanticUserError, PydanticDeprecatedSince20):
        return None


def json_types(schema: Mapping[str, Value], whole: Mapping[str, Value]) -> set[str]:
    """Return the JSON types of a schema's values; `any` stands for values that nobody knows."""
    if "$ref" in schema:
        return json_types(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return {kind for part in schema[name] for kind in json_types(part, whole)}
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return {_json_type(value) for value in values}
    if schema.get("format") == "binary":
        return {"bytes"}
    kind = schema.get("type", "any")
    return {kind} if isinstance(kind, str) else set(kind)


def _json_type(value: Value) -> str:
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return names.get(type(value), "any")


def hides_values(schema: Mapping[str, Value]) -> bool:
    """Return whether a part of a JSON schema is a secret, which pydantic writes as asterisks."""
    return any(
        part.get("writeOnly") and part.get("format") == "password" for part in _parts_of(schema)
    )


def has_sets(schema: Mapping[str, Value]) -> bool:
    """Return whether a part of a JSON schema is a set."""
    return any(part.get("uniqueItems") for part in _parts_of(schema))


def _parts_of(schema: Value) -> Iterator[Mapping[str, Value]]:
    if isinstance(schema, Mapping):
        yield schema
    inner = schema.values() if isinstance(schema, Mapping) else schema
    for part in inner:
        if isinstance(part, Mapping | list):
            yield from _parts_of(part)


def shown(annotation: Annotation) -> str:
    """Return an annotation as a program writes it, for an error's text."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        module = annotation.__module__
        prefix = "" if module in ("builtins", "__main__") or "<locals>" in module else f"{module}."
        return f"{prefix}{annotation.__qualname__.rpartition('<locals>.')[2]}"
    return str(annotation).replace("typing.", "")
