"""Describe the fields of a model as JSON Schemas of their stored form, as events contain values."""

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaMode

from edgy_bus.models.annotations import json_schema
from edgy_bus.models.fields import Field
from edgy_bus.models.rules import AtMost
from edgy_bus.sources import RowSchemas, Schema

_STORED: Mapping[type, Schema] = {
    bool: {"type": "boolean"},
    float: {"type": "number"},
    str: {"type": "string"},
    # The codec writes these as text, because a JSON number would lose digits or bytes.
    Decimal: {"type": "string", "format": "decimal"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    dt.date: {"type": "string", "format": "date"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.time: {"type": "string", "format": "time"},
    dt.timedelta: {"type": "number", "format": "seconds"},
}
"""The JSON form of the values of each type of column (`codec.dumps`)."""

_INT32 = 2**31 - 1

_MODE: JsonSchemaMode = "serialization"

_TEMPLATE = "#/definitions/{model}"


def row_schemas(fields: Mapping[str, Field], infos: Mapping[str, FieldInfo]) -> RowSchemas:
    """Return the schemas of fields, and the definitions that they refer to.

    Limits that only pydantic knows (`ge`, `pattern`) are left out: an update in SQL may write other
    values.

    Args:
        fields: the fields that may leave the database.
        infos: pydantic's part of the fields.
    """
    adapters = [
        (name, _MODE, field.adapter)
        for name, field in fields.items()
        if field.adapter is not None and _has_own_form(field) and json_schema(field.adapter)
    ]
    # Together, so that two types of one name get different definitions.
    shapes, shared = TypeAdapter.json_schemas(adapters, by_alias=False, ref_template=_TEMPLATE)
    schemas: dict[str, Schema] = {}
    for name, field in fields.items():
        schema = shapes.get((name, _MODE)) or _schema(field)
        nullable = {"anyOf": [schema, {"type": "null"}]} if field.null else schema
        schemas[name] = {**nullable, **_explanation(infos[name])}
    return RowSchemas(schemas, shared.get("$defs", {}))


def _has_own_form(field: Field) -> bool:
    """Return whether the annotation says more about the JSON form than the column does."""
    if field.kind.natural is object:
        return True
    annotation = field.annotation
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
    return is_enum and not field.kind.texts


def _schema(field: Field) -> dict[str, Any]:
    natural = field.kind.natural
    if natural is object:
        return {}
    if natural is int:
        _, greatest = field.kind.limits or (0, _INT32)
        return {"type": "integer", "format": "int32" if greatest == _INT32 else "int64"}
    schema = dict(_STORED[natural])
    lengths = [rule.length for rule in field.rules if isinstance(rule, AtMost)]
    if lengths:
        schema["maxLength"] = min(lengths)
    if field.kind.texts:
        schema["enum"] = list(field.kind.texts)
    return schema


def _explanation(info: FieldInfo) -> Schema:
    """Return what the declaration says to people."""
    explanation: dict[str, Any] = {}
    if info.description:
        explanation["description"] = info.description
    if info.deprecated:
        explanation["deprecated"] = True
    return explanation
