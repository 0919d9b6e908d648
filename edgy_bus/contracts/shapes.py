"""The JSON Schemas of events: the attributes of the event header, and `data` of every signal.

The dialect is draft 7, which the Schema Objects of AsyncAPI extend. `docs/wire-format.md` explains
each attribute and each part of `data`.
"""

from collections.abc import Mapping
from typing import Any

from edgy_bus.codec import SPEC_VERSION
from edgy_bus.contracts.contract import ModelContract
from edgy_bus.events import SCHEMA_VERSION
from edgy_bus.signals import POST_SIGNALS, PRE_SIGNALS
from edgy_bus.sources import Schema

ATTRIBUTES = "event"
"""The definition of the attributes of every event."""

ROOT = "#/definitions/"

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer", "format": "int64"}
_NAMES: Schema = {"type": "array", "items": _TEXT}
_NULL: Schema = {"type": "null"}
_UUID: Schema = {"type": "string", "format": "uuid"}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def attributes() -> Schema:
    """Return the schema of an event header, without the `type` that names model and signal."""
    properties = {
        "specversion": {"type": "string", "const": SPEC_VERSION},
        "id": _said(_UUID, "A UUIDv7. Two deliveries of an event have the same id."),
        "source": _said(_TEXT, "The service that published the event."),
        "type": _said(_TEXT, "service.Model.signal"),
        "time": {"type": "string", "format": "date-time"},
        "schemaversion": {"type": "integer", "const": SCHEMA_VERSION},
        "subject": _said(_TEXT, "The primary key of the row, as text."),
        "sequence": _said(_NUMBER, "Rises from event to event of a row, within an incarnation."),
        "incarnation": _said(
            _NUMBER, "Rises when the publisher's database was restored. Compared before `sequence`."
        ),
        "traceparent": _said(_TEXT, "The W3C trace context of the operation."),
        "to": _said(_TEXT, "GROUP/RECEIVER: all other receivers skip the event."),
        "causationid": _said(_UUID, "The event whose receiver wrote this event."),
        "backfill": _said(_FLAG, "The event repeats a row that existed before."),
        "replayof": _said(_UUID, "The event that this event is a copy of."),
    }
    return {
        "type": "object",
        "description": "Attributes of CloudEvents 1.0. Further attributes are the event's context.",
        "properties": properties,
        "required": ["specversion", "id", "source", "type", "time", "schemaversion"],
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def definitions(model: ModelContract) -> dict[str, Schema]:
    """Return the definitions of a model's events by name; references are `#/definitions/NAME`."""
    nested = {f"{model.name}.type.{name}": each for name, each in model.rows.definitions.items()}
    fields = model.rows.fields
    # Three views of the same fields, because events contain rows, parts of rows, and changes.
    shapes: dict[str, Schema] = {
        model.name: _row(model),
        f"{model.name}.partial": {
            "type": "object",
            "description": "Some fields of a row. In events of pre_* signals values may be null, "
            "and nobody has validated them.",
            "properties": {name: _optional(schema) for name, schema in fields.items()},
        },
        f"{model.name}.changes": {
            "type": "object",
            "description": "The fields that an update changed. `old` is missing where nobody knows "
            "the value.",
            "properties": {name: _change(schema) for name, schema in fields.items()},
        },
        **nested,
    }
    for signal in model.signals:
        shapes[data_name(model.name, signal)] = _data(model.name, signal)
    # The types inside of JSON get the name of their model: two models may have a type of one name.
    renamed = {
        f"{ROOT}{name}": f"{ROOT}{model.name}.type.{name}" for name in model.rows.definitions
    }
    return {name: with_references(shape, renamed) for name, shape in shapes.items()}


def data_name(model: str, signal: str) -> str:
    """Return the name of the definition of a signal's `data`."""
    return f"{model}.{signal}.data"


def reference(name: str) -> Schema:
    """Return a reference to a definition."""
    return {"$ref": f"{ROOT}{name}"}


def _row(model: ModelContract) -> Schema:
    row: dict[str, Any] = {
        "type": "object",
        "properties": model.rows.fields,
        "required": list(model.rows.fields),
    }
    return {**row, "description": model.description} if model.description else row


def _optional(schema: Schema) -> Schema:
    return schema if is_nullable(schema) else {"anyOf": [schema, _NULL]}


def is_nullable(schema: Schema) -> bool:
    """Return whether a field's schema allows null beside another type."""
    return _NULL in schema.get("anyOf", ())


def _change(schema: Schema) -> Schema:
    # The row has the description already.
    plain = {name: part for name, part in schema.items() if name != "description"}
    return {"type": "object", "properties": {"old": plain, "new": plain}, "required": ["new"]}


def _data(model: str, signal: str) -> Schema:
    """Return the schema of `data`. Nothing is required: a signal may be sent by the application."""
    # So every part of `data` is optional, although most events have the usual parts.
    row, partial = reference(model), reference(f"{model}.partial")
    sent = {"kwargs": _said({"type": "object"}, "Keywords of a signal that the application sent.")}
    if signal in PRE_SIGNALS:
        values = {"anyOf": [partial, _NULL]}
        flag = {"type": ["boolean", "null"]}
        return _object({"instance": partial, "values": values, "is_update": flag, **sent})
    if signal not in POST_SIGNALS:
        # A custom signal. The application may send an instance whose row it has never saved.
        return _object({"instance": partial, **sent})
    parts = {
        "is_update": _said(_FLAG, "Whether the row existed before and exists after."),
        "changes": reference(f"{model}.changes"),
        "omitted": _said(_NAMES, "Fields that `instance` lacks, because they are too large."),
        "row_count": _said(_NUMBER, "Of an event that stands for a set: its rows."),
        "values": partial,
        **sent,
    }
    if signal == "post_update":
        parts["assigned"] = _said(_NAMES, "The fields that the update wrote.")
    # `instance` is a whole row, but for the two exceptions.
    return {
        **_object(parts),
        "if": {"anyOf": [{"required": ["omitted"]}, {"required": ["kwargs"]}]},
        "then": {"properties": {"instance": partial}},
        "else": {"properties": {"instance": row}},
    }


def _object(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties}


def with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    """Return a schema with other references, in the keywords of draft 7."""
    if isinstance(schema, list):
        return [with_references(part, renamed) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    changed = {name: with_references(part, renamed) for name, part in schema.items()}
    if isinstance(changed.get("$ref"), str):
        changed["$ref"] = renamed.get(changed["$ref"], changed["$ref"])
    return _in_draft_7(changed)


def _in_draft_7(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of pydantic's dialect (2020-12, and OpenAPI's discriminator) in draft 7."""
    # `prefixItems` has no meaning in draft 7, where a list of `items` says the same.
    if isinstance(schema.get("prefixItems"), list):
        schema["items"] = schema.pop("prefixItems")
        schema["additionalItems"] = False
    # In AsyncAPI a discriminator is a text.
    if isinstance(schema.get("discriminator"), dict) and "oneOf" in schema:
        del schema["discriminator"]
    # The title that pydantic makes of a name says nothing more than the name.
    if isinstance(schema.get("title"), str):
        del schema["title"]
    return schema
