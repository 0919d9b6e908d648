"""Read a document that `documents` wrote, whichever of the two formats it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgy_bus.codec import loads
from edgy_bus.contracts import shapes
from edgy_bus.contracts.shapes import ATTRIBUTES, ROOT, with_references
from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.sources import Schema

_DERIVED = (".partial", ".changes")
"""Ends of the names of definitions that repeat the fields of a row."""


@dataclass(frozen=True, slots=True)
class Channel:
    """Where the events of a channel are: the pattern of the key, and the streams if known."""

    address: str
    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """The contents of a document.

    Attributes:
        title: the service.
        definitions: the definitions by name, with references `#/definitions/NAME`.
        messages: the schema of `data` of each message `service.Model.signal` that the service
            publishes.
        channels: the channels by name; None for a JSON Schema, which knows no channels.
        receivers: the receivers as `GROUP/RECEIVER service.Model.signal`.
    """

    title: str
    definitions: Mapping[str, Schema]
    messages: Mapping[str, Schema]
    channels: Mapping[str, Channel] | None
    receivers: frozenset[str]

    def models(self) -> dict[str, list[str]]:
        """Return the published models, each with its signals."""
        models: dict[str, list[str]] = {}
        for message in sorted(self.messages):
            model, _, signal = message.rpartition(".")
            models.setdefault(model, []).append(signal)
        return models

    def resolved(self, schema: Schema) -> Schema:
        """Return a schema, or the definition that it refers to.

        Raises:
            ConfigurationError: for a reference to a definition that the document does not have.
        """
        name = referred(schema)
        if name is None:
            return schema
        if name not in self.definitions:
            raise ConfigurationError(f"the document refers to {name!r}, which it does not define")
        return self.resolved(self.definitions[name])


def referred(schema: Schema) -> str | None:
    """Return the name of the definition that a schema refers to; None for another schema."""
    reference = schema.get("$ref")
    return reference.removeprefix(ROOT) if isinstance(reference, str) else None


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """Return the properties of an object; of `data`, also the `instance` of the usual event."""
    # `shapes` describes the usual instance in `else`, and the exceptions in `then`.
    usual = schema.get("else", {}).get("properties", {})
    return {**schema.get("properties", {}), **usual}


def is_derived(name: str) -> bool:
    """Return whether a definition repeats the fields of a row."""
    return name.endswith(_DERIVED)


def parse(text: str, where: str) -> Reading:
    """Read a document.

    Args:
        text: the document, as JSON.
        where: names the document in errors.

    Raises:
        ConfigurationError: for a text that `edgy-bus schema export` did not write.
    """
    try:
        document = loads(text)
    except EventError as error:
        raise ConfigurationError(f"{where} is no document of JSON: {error}") from None
    return read(document, where)


def read(document: Any, where: str) -> Reading:
    """Read a document that is a value of JSON. Raises as `parse`."""
    # A document of another program may lack anything, anywhere.
    try:
        if "asyncapi" in document:
            return _read_asyncapi(document)
        return _read_json_schema(document)
    except (KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{where} is no contract: write it with `edgy-bus schema export`, as asyncapi or "
            "json-schema"
        ) from None


def _read_asyncapi(document: Mapping[str, Any]) -> Reading:
    schemas = document["components"]["schemas"]
    # One form of references for both formats.
    renamed = {f"#/components/schemas/{name}": f"{ROOT}{name}" for name in schemas}
    messages = document["components"]["messages"]
    receivers = {
        f"{operation['x-group']}/{each['name']} {model}.{each['signal']}"
        for operation in document["operations"].values()
        if operation["action"] == "receive"
        for each in operation["x-receivers"]
        for model in [_model_of(operation)]
    }
    return Reading(
        title=document["info"]["title"],
        definitions={name: with_references(each, renamed) for name, each in schemas.items()},
        messages={
            name: with_references(message["payload"], renamed)
            for name, message in messages.items()
            # A message of another service has no definition here.
            if shapes.data_name(*_split(name)) in schemas
        },
        channels={
            name: Channel(each["address"], tuple(each["parameters"]["stream"].get("enum", ())))
            for name, each in document["channels"].items()
        },
        receivers=frozenset(receivers),
    )


def _model_of(operation: Mapping[str, Any]) -> str:
    # All messages of an operation are in one channel, and so of one model.
    message: str = operation["messages"][0]["$ref"]
    return _split(message.rpartition("/")[2])[0]


def _split(message: str) -> tuple[str, str]:
    model, _, signal = message.rpartition(".")
    return model, signal


def _read_json_schema(document: Mapping[str, Any]) -> Reading:
    every = document["definitions"]
    events = [each["$ref"].removeprefix(ROOT) for each in document["oneOf"]]
    # Any JSON Schema may have definitions; only a contract has the attributes of events.
    if ATTRIBUTES not in every:
        raise KeyError(ATTRIBUTES)
    attributes = dict(every[ATTRIBUTES]["properties"])
    # The data is here as well, in the structured form of an event.
    del attributes["data"]
    definitions = {name: each for name, each in every.items() if name not in events}
    return Reading(
        title=document["title"],
        definitions={
            **definitions,
            ATTRIBUTES: {**every[ATTRIBUTES], "properties": attributes},
        },
        messages={name: every[name]["properties"]["data"] for name in events},
        channels=None,
        receivers=frozenset(),
    )
