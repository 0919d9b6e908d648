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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from edgy_bus.errors import EventError
from edgy_bus.events import SCHEMA_VERSION, Event

SPEC_VERSION = "1.0"

_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
# orjson 3.13 writes 00:00:00.010000 as 00:00:00.10000: times are made text here.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


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
    with suppress(*_UNWRITABLE):
        return _dumps(value)
    try:
        # PostgreSQL returns the JSON number 1e22 as a whole number, which orjson refuses.
        return _dumps(_with_floats(value))
    except _UNWRITABLE as error:
        raise EventError(f"cannot be written as JSON: {error.__cause__ or error}") from error


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def _with_floats(value: Any) -> Any:
    """Return a value with floats for whole numbers beyond 64 bits, where no digit is lost."""
    if isinstance(value, Mapping):
        return {key: _with_floats(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_floats(inner) for inner in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        number = float(value)
        if value in (number, int(decimal.Decimal(repr(number)))):
            return number
    return value


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


RESERVED = frozenset(
    {
        *("specversion", "id", "source", "type", "subject", "time"),
        *("data", "datacontenttype", "dataschema", "schemaversion", "sequence", "incarnation"),
        *("traceparent", "tracestate", "to", "causationid"),
    }
)
"""Names of attributes that an entry of an event's context cannot have."""


class HeaderPacker:
    """Makes the `head` field of a model's events: CloudEvents attributes as one JSON object.

    An attribute without a value is left out.
    """

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
        to: str | None = None,
        causation: str | None = None,
        context: str | None = None,
    ) -> bytes:
        """Return the header of an event; `context` is a JSON object of further attributes."""
        header: dict[str, Any] = {"id": event_id, "time": time}
        if subject is not None:
            header["subject"] = subject
        if sequence is not None:
            header["sequence"] = sequence
            header["incarnation"] = incarnation
        if traceparent is not None:
            header["traceparent"] = traceparent
        if to is not None:
            header["to"] = to
        if causation is not None:
            header["causationid"] = causation
        if context is not None:
            header |= _context(context)
        return (self._beginnings.get(signal) or self._beginning(signal)) + orjson.dumps(header)[1:]

    def _beginning(self, signal: str) -> bytes:
        """Return the attributes that all events of a signal have; the next attribute can follow."""
        same = {
            "specversion": SPEC_VERSION,
            "source": self._source,
            "type": f"{self._model}.{signal}",
            "schemaversion": SCHEMA_VERSION,
        }
        self._beginnings[signal] = orjson.dumps(same)[:-1] + b","
        return self._beginnings[signal]


def _context(text: str) -> dict[str, Any]:
    """Return the attributes of a stored context.

    Whatever CloudEvents does not allow as an attribute is left out: a row that somebody edited must
    not stop its stream.
    """
    try:
        context = loads(text)
    except EventError:
        return {}
    entries = context.items() if type(context) is dict else ()
    return {
        name: value
        for name, value in entries
        if name not in RESERVED and type(value) in (str, int, float, bool)
    }


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
    for types, write in _WRITERS:
        if isinstance(value, types):
            return write(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _moment(value: dt.datetime) -> str:
    text = value.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


_WRITERS: Sequence[tuple[Any, Callable[[Any], Any]]] = (
    (dt.datetime, _moment),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    # Never in scientific notation, as in PostgreSQL.
    (decimal.Decimal, lambda value: format(value, "f")),
    (uuid.UUID, str),  # asyncpg has a UUID class of its own
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (dt.timedelta, dt.timedelta.total_seconds),
    (enum.Enum, lambda value: value.value),
    ((set, frozenset), sorted),
)
"""How values are written that JSON does not know, by the first type that matches."""
