"""Write a contract as a document: AsyncAPI 3.1, or JSON Schema of draft 7.

The formats are https://www.asyncapi.com/docs/reference/specification/v3.1.0 and
https://json-schema.org/draft-07/schema. Both contain the same definitions.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from edgy_bus.contracts import shapes
from edgy_bus.contracts.contract import Contract, ModelContract, ReceiverContract
from edgy_bus.events import PRE, Partition, partitions_of
from edgy_bus.signals import PRE_SIGNALS
from edgy_bus.sources import Schema

Document = dict[str, Any]

ASYNCAPI = "3.1.0"
DRAFT = "http://json-schema.org/draft-07/schema#"

UNSTATED = "0"
"""The version of a contract whose program states none: a document must have one."""

_SCHEMAS = "#/components/schemas/"
_MESSAGES = "#/components/messages/"


def asyncapi(contract: Contract) -> Document:
    """Return a contract as an AsyncAPI document.

    A channel is the streams of a model. The parameter `stream` lists the streams with their braces,
    which are part of a key of Redis Cluster.
    """
    # A service may subscribe to models that it publishes itself: those have a channel already.
    heard = [each for each in contract.receivers if each.model not in _names(contract)]
    channels: Document = {}
    for model in contract.models:
        channels |= _channels(contract, model.name, model.signals, contract.partitions)
    # The number of partitions of another service's model is a matter of that service.
    for name, group in groupby(sorted(heard, key=_model_of), key=_model_of):
        signals = tuple(sorted({each.signal for each in group}))
        channels |= _channels(contract, name, signals, None)
    return {
        "asyncapi": ASYNCAPI,
        "info": {
            "title": contract.service,
            "version": contract.version or UNSTATED,
            "description": "Events of database models, as entries of Redis Streams. `head` has the "
            "headers, `data` the payload of a message.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {**_sending(contract), **_receiving(contract)},
        "components": {"messages": _messages(contract), "schemas": _schemas(contract)},
    }


def _model_of(receiver: ReceiverContract) -> str:
    return receiver.model


def _names(contract: Contract) -> set[str]:
    return {model.name for model in contract.models}


def _channels(
    contract: Contract, model: str, signals: Iterable[str], partitions: int | None
) -> Document:
    """Return the channels of a model: its ordered streams, and the stream of `pre_*` events."""
    channels: Document = {}
    for signal in signals:
        name = channel_name(model, signal)
        if name not in channels:
            channels[name] = _channel(contract.prefix, model, signal, partitions)
        message = f"{model}.{signal}"
        channels[name]["messages"][message] = {"$ref": f"{_MESSAGES}{message}"}
    return channels


def channel_name(model: str, signal: str) -> str:
    """Return the name of the channel that has a signal's events."""
    return f"{model}.{PRE}" if signal in PRE_SIGNALS else model


def _channel(prefix: str, model: str, signal: str, partitions: int | None) -> Document:
    # An address with the braces of the key would be read as one with more parameters.
    stream: Document = {"description": "The stream of a partition: {MODEL:PARTITION}."}
    if signal in PRE_SIGNALS:
        meaning = "Events of operations that are about to happen, without order or promise."
        stream["enum"] = [f"{{{Partition(model, PRE)}}}"]
    else:
        meaning = (
            "Events in the order in which each row changed. The partition of a row is the first "
            "32 bits of the MD5 of its key, modulo the number of streams."
        )
        if partitions is None:
            stream["examples"] = [f"{{{Partition(model, '0')}}}"]
        else:
            stream["enum"] = [f"{{{each}}}" for each in partitions_of(model, partitions)]
    return {
        "address": f"{prefix}:{{stream}}:events",
        "description": meaning,
        "parameters": {"stream": stream},
        "messages": {},
    }


def _sending(contract: Contract) -> Document:
    operations: Document = {}
    for model in contract.models:
        for channel in _channels(contract, model.name, model.signals, contract.partitions):
            names = [
                f"{model.name}.{signal}"
                for signal in model.signals
                if channel_name(model.name, signal) == channel
            ]
            operations[f"send.{channel}"] = _operation("send", channel, names)
    return operations


def _receiving(contract: Contract) -> Document:
    def key(receiver: ReceiverContract) -> tuple[str, str]:
        return receiver.group, channel_name(receiver.model, receiver.signal)

    operations: Document = {}
    for (group, channel), members in groupby(sorted(contract.receivers, key=key), key=key):
        receivers = list(members)
        names = sorted({f"{each.model}.{each.signal}" for each in receivers})
        operation = _operation("receive", channel, names)
        # Extensions, because AsyncAPI knows neither consumer groups nor receivers.
        operation["x-group"] = group
        operation["x-receivers"] = [
            {"name": each.name, "signal": each.signal, "fields": list(each.fields)}
            for each in receivers
        ]
        operations[f"receive.{group}.{channel}"] = operation
    return operations


def _operation(action: str, channel: str, messages: Iterable[str]) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _messages(contract: Contract) -> Document:
    """Return the messages: with types for our own models, with attributes alone for others."""
    # The types of other services' events are in the contracts of those services.
    ours = {f"{model.name}.{signal}" for model in contract.models for signal in model.signals}
    heard = {f"{each.model}.{each.signal}" for each in contract.receivers} - ours
    return {
        name: {
            "name": name,
            "headers": _headers(name),
            "payload": {"$ref": f"{_SCHEMAS}{name}.data"} if name in ours else {"type": "object"},
        }
        for name in sorted(ours | heard)
    }


def _headers(name: str) -> Schema:
    # Not beside the other keywords: draft 7 ignores the neighbours of a reference.
    shared = {"$ref": f"{_SCHEMAS}{shapes.ATTRIBUTES}"}
    return {"type": "object", "allOf": [shared], "properties": {"type": {"const": name}}}


def _schemas(contract: Contract) -> Document:
    every = _definitions(contract.models)
    renamed = {f"{shapes.ROOT}{name}": f"{_SCHEMAS}{name}" for name in every}
    return {name: shapes.with_references(each, renamed) for name, each in every.items()}


def _definitions(models: Iterable[ModelContract]) -> Mapping[str, Schema]:
    # Names of models contain a dot, so that no model replaces the attributes.
    every: dict[str, Schema] = {shapes.ATTRIBUTES: shapes.attributes()}
    for model in models:
        every |= shapes.definitions(model)
    return every


def json_schema(contract: Contract) -> Document:
    """Return a contract as a JSON Schema of its events in the structured form of CloudEvents."""
    # Our own events only: other services define theirs.
    events: Document = {}
    for model in contract.models:
        for signal in model.signals:
            name = f"{model.name}.{signal}"
            data = shapes.reference(shapes.data_name(model.name, signal))
            events[name] = {
                "type": "object",
                "allOf": [shapes.reference(shapes.ATTRIBUTES)],
                "properties": {"type": {"const": name}, "data": data},
                "required": ["type", "data"],
            }
    # In this form the data stands among the attributes, which allow no other object.
    attributes = shapes.attributes()
    attributes = {**attributes, "properties": {**attributes["properties"], "data": {}}}
    return {
        "$schema": DRAFT,
        "title": contract.service,
        "oneOf": [shapes.reference(name) for name in events],
        "definitions": {**_definitions(contract.models), **events, shapes.ATTRIBUTES: attributes},
    }
