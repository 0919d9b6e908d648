"""Encode events for the wire and decode them: an id, a header, and data that stays bytes at first.

An entry of a stream has the fields `id` (the event's id), `head` (the event header, a JSON object
of CloudEvents attributes, which is enough for routing) and `data` (a JSON object, decoded only for
a receiver). orjson reads and writes the JSON, so no executable content is ever deserialised.
"""

import base64
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from edgy_bus.errors import EventError
from edgy_bus.events import SCHEMA_VERSION, Event

SPEC_VERSION = "1.0"


class Wire(NamedTuple):
    """Hold the byte strings of an event, as the broker stores them."""

    id: str
    header: bytes
    data: bytes
    signature: bytes = b""


class Envelope(NamedTuple):
    """An entry whose header has been read and whose data has not."""

    id: str
    source: str
    model: str
    signal: str
    subject: str | None
    time: str
    sequence: int | None
    incarnation: int
    schema_version: int
    traceparent: str | None
    raw: bytes

    def open(self) -> Event:
        """Decode the data. Raises `EventError` if it is not a JSON object."""
        data = loads(self.raw)
        if type(data) is not dict:
            raise EventError(f"the data of event {self.id} is not a JSON object")
        (
            event_id,
            source,
            model,
            signal,
            subject,
            time,
            sequence,
            incarnation,
            version,
            traceparent,
            _,
        ) = self
        attributes = (
            event_id,
            source,
            model,
            signal,
            subject,
            _time(time),
            data,
            sequence,
            incarnation,
            version,
        )
        return tuple.__new__(Event, (*attributes, traceparent))


def dumps(value: object) -> bytes:
    """Encode a value as JSON: dates as ISO 8601, decimals and UUIDs as text, bytes as base64.

    Raises:
        EventError: for a type without a JSON form, a circular value, or text that is not UTF-8.
    """
    try:
        return orjson.dumps(
            value, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise EventError(f"cannot be written as JSON: {error.__cause__ or error}") from error


def loads(raw: bytes | str) -> Any:
    """Decode JSON. Raises `EventError` for bytes or text that are not JSON."""
    try:
        return orjson.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EventError(f"not JSON: {error}") from error


class Numbering(NamedTuple):
    """Hold an event's position among the events of its row; no sequence if it has no position."""

    sequence: int | None = None
    incarnation: int = 1


class HeaderPacker:
    """Makes the `header` field of a model's events: CloudEvents attributes as one JSON object; what is unknown is left out."""

    def __init__(self, source: str, model: str) -> None:
        self._source = source
        self._model = model
        self._beginnings: dict[str, bytes] = {}

    def pack(
        self,
        event_id: str,
        signal: str,
        *,
        subject: str | None,
        time: str,
        sequence: int | None,
        incarnation: int,
        traceparent: str | None,
    ) -> bytes:
        header: dict[str, Any] = {"id": event_id, "time": time}
        if subject is not None:
            header["subject"] = subject
        if sequence is not None:
            header["sequence"] = sequence
            header["incarnation"] = incarnation
        if traceparent is not None:
            header["traceparent"] = traceparent
        return (self._beginnings.get(signal) or self._beginning(signal)) + orjson.dumps(header)[1:]

    def _beginning(self, signal: str) -> bytes:
        """What all events of a signal begin with; the next attribute can follow."""
        same = {
            "specversion": SPEC_VERSION,
            "source": self._source,
            "type": f"{self._model}.{signal}",
            "schemaversion": SCHEMA_VERSION,
        }
        self._beginnings[signal] = orjson.dumps(same)[:-1] + b","
        return self._beginnings[signal]


def pack(event: Event) -> Wire:
    """Encode an event, without a signature. Raises `EventError` if its data has no JSON form."""
    header = _packer(event.source, event.model).pack(
        event.id,
        event.signal,
        subject=event.subject,
        time=event.time.isoformat(),
        sequence=event.sequence,
        incarnation=event.incarnation,
        traceparent=event.traceparent,
    )
    return Wire(event.id, header, dumps(event.data))


@lru_cache(maxsize=1024)
def _packer(source: str, model: str) -> HeaderPacker:
    return HeaderPacker(source, model)


def unpack(fields: Mapping[bytes, bytes]) -> Envelope:
    """Read the header of an entry. Raises `EventError` with the reason for whatever is not an event of ours."""
    try:
        raw_header, data = fields[b"head"], fields[b"data"]
    except KeyError as error:
        raise EventError(f"the entry has no field {error.args[0].decode()!r}") from None
    header = loads(raw_header)
    if type(header) is not dict:
        raise EventError("the entry's header is not a JSON object")
    known = header.get
    version = known("schemaversion", SCHEMA_VERSION)
    if known("specversion") != SPEC_VERSION or version != SCHEMA_VERSION:
        raise EventError(
            f"unknown version: specversion {known('specversion')!r}, schemaversion {version!r}"
        )
    event_id, source, kind, time = known("id"), known("source"), known("type"), known("time")
    subject, traceparent = known("subject"), known("traceparent")
    sequence, incarnation = known("sequence"), known("incarnation", 1)
    # One test for what is nearly always true; which part of it is not is found out only then.
    if not (
        type(event_id) is type(source) is type(kind) is type(time) is str
        and (subject is None or type(subject) is str)
        and (sequence is None or type(sequence) is int)
        and (traceparent is None or type(traceparent) is str)
        and (incarnation is None or type(incarnation) is int)
    ):
        raise EventError(_misfit(header))
    model, _, signal = kind.rpartition(".")
    if not model:
        raise EventError(_misfit(header))
    attributes = (
        event_id,
        source,
        model,
        signal,
        subject or None,
        time,
        sequence,
        incarnation or 1,
        version,
    )
    # What `Envelope(…)` does, at half the price: this is done for every event.
    return tuple.__new__(Envelope, (*attributes, traceparent or None, data))


def numbering(header: bytes) -> Numbering:
    """Read sequence and incarnation from an event header.

    Returns a `Numbering` without a sequence for invalid bytes, and for numbers out of range.
    """
    try:
        envelope = unpack({b"head": header, b"data": b""})
    except EventError:
        return Numbering()
    # Foreign bytes on a stream must not stop the relay: the outbox columns are a signed 64-bit and
    # a 32-bit integer, and a database refuses larger numbers with an error.
    fits = 0 < (envelope.sequence or 0) < 2**63 and 0 < envelope.incarnation < 2**30
    return Numbering(envelope.sequence, envelope.incarnation) if fits else Numbering()


_TEXTS = ("type", "id", "source", "time")
_OPTIONAL_TEXTS = ("subject", "traceparent")


def _misfit(header: Mapping[str, Any]) -> str:
    """Describe the first attribute of a header that is missing or has the wrong type."""
    for name in _TEXTS:
        if not isinstance(header.get(name), str):
            return f"the event's {name!r} is missing or not text"
        if name == "type" and "." not in header[name].lstrip("."):
            return f"the event's type {header[name]!r} is not of the form service.Model.signal"
    for name in _OPTIONAL_TEXTS:
        if not isinstance(header.get(name), str | None):
            return f"the event's {name!r} is not text"
    sequence_fits = type(header.get("sequence")) in (int, type(None))
    return f"the event's {'incarnation' if sequence_fits else 'sequence'!r} is not a whole number"


def _time(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise EventError(f"the event's time {text!r} is not ISO 8601") from error


def key_text(key: object) -> str:
    """Return a primary key as the subject of an event: an Enum by its value, bytes as base64."""
    return str(_plain(key)) if isinstance(key, enum.Enum | bytes) else str(key)


def _plain(value: object) -> object:
    """Convert a value that orjson does not know. Raises `TypeError`, as orjson requires."""
    # orjson writes `uuid.UUID` itself, but not its subclass that asyncpg returns. A decimal becomes
    # text, because a JSON number would be read as a float and lose digits.
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        # Sorted, so that the same set always gives the same bytes, and the same signature.
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")
