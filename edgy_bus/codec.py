"""Events on the wire: three byte strings, of which the last is opened only when a receiver wants it.

An entry of a stream has the fields `id` (the event's id), `head` (a JSON object of CloudEvents attributes, all that routing
needs) and `data` (a JSON object). JSON is written and read by orjson: nothing executable is ever deserialised.
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
    """An event as it travels."""

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
    to: str | None = None
    """The receiver that the event is addressed to, as GROUP/RECEIVER; None for all receivers."""

    def open(self) -> Event:
        """Decode the data. Raises `EventError` if it is not a JSON object."""
        data = loads(self.raw)
        if type(data) is not dict:
            raise EventError(f"the data of event {self.id} is not a JSON object")
        # `Event(…)` with the same attributes in the same order, at half the price: this is done for
        # every event and receiver.
        before, after = self[:_TIME], self[_TIME + 1 : _TRACEPARENT + 1]
        return tuple.__new__(Event, (*before, _time(self.time), data, *after))


_TIME = Envelope._fields.index("time")
_TRACEPARENT = Envelope._fields.index("traceparent")


def dumps(value: Any) -> bytes:
    """JSON with the types that rows hold: dates as ISO 8601, decimals as text, bytes as base64. Raises `EventError`."""
    try:
        return orjson.dumps(
            value, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise EventError(f"cannot be written as JSON: {error.__cause__ or error}") from error


def loads(raw: bytes | str) -> Any:
    """Raises `EventError` for anything that is not JSON."""
    try:
        return orjson.loads(raw)
    except (ValueError, RecursionError) as error:
        raise EventError(f"not JSON: {error}") from error


class Numbering(NamedTuple):
    """An event's place among those of its row; no sequence where it has none, or is not an event of ours."""

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
    """An event as bytes."""
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
            f"unknown version: specversion {_shown(known('specversion'))}, "
            f"schemaversion {_shown(version)}"
        )
    event_id, source, kind, time = known("id"), known("source"), known("type"), known("time")
    subject, traceparent, to = known("subject"), known("traceparent"), known("to")
    sequence, incarnation = known("sequence"), known("incarnation")
    # One test for what is nearly always true; which part of it is not is found out only then.
    if not (
        type(event_id) is type(source) is type(kind) is type(time) is str
        and (subject is None or type(subject) is str)
        and (sequence is None or type(sequence) is int)
        and (traceparent is None or type(traceparent) is str)
        and (to is None or (type(to) is str and "/" in to))
        and (incarnation is None or type(incarnation) is int)
    ):
        raise EventError(_misfit(header))
    model, _, signal = kind.rpartition(".")
    if not model:
        raise EventError(_misfit(header))
    # `Envelope(…)`, at half the price: this is done for every event.
    return tuple.__new__(
        Envelope,
        (
            event_id,
            source,
            model,
            signal,
            subject or None,
            time,
            sequence,
            incarnation or 1,
            version,
            traceparent or None,
            data,
            to,
        ),
    )


def numbering(header: bytes) -> Numbering:
    """Sequence and incarnation of an event by its `header`, whatever that is; no numbers that a database cannot store."""
    try:
        one = unpack({b"head": header, b"data": b""})
    except EventError:
        return Numbering()
    ours = 0 < (one.sequence or 0) < 2**63 and 0 < one.incarnation < 2**30
    return Numbering(one.sequence, one.incarnation) if ours else Numbering()


_TEXTS = ("type", "id", "source", "time")
_OPTIONAL_TEXTS = ("subject", "traceparent")


def _misfit(header: Mapping[str, Any]) -> str:
    """Which attribute of a header is not what it must be."""
    for name in _TEXTS:
        if not isinstance(header.get(name), str):
            return f"the event's {name!r} is missing or not text"
        if name == "type" and "." not in header[name].lstrip("."):
            kind = _shown(header[name])
            return f"the event's type {kind} is not of the form service.Model.signal"
    for name in _OPTIONAL_TEXTS:
        if not isinstance(header.get(name), str | None):
            return f"the event's {name!r} is not text"
    to = header.get("to")
    if to is not None and (type(to) is not str or "/" not in to):
        return f"the event's 'to' {_shown(to)} is not of the form GROUP/RECEIVER"
    which = "sequence" if type(header.get("sequence")) not in (int, type(None)) else "incarnation"
    return f"the event's {which!r} is not a whole number"


def _shown(value: Any) -> str:
    """Return a foreign value for an error's text: short, and never by its own nested parts."""
    # A list that is nested a thousand times is JSON, but its repr raises RecursionError.
    if isinstance(value, str | int | float | None):
        return repr(value)[:80]
    return f"a {type(value).__name__}"


def _time(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise EventError(f"the event's time {text!r} is not ISO 8601") from error


def key_text(key: Any) -> str:
    """A primary key as an event's subject: an Enum by its value, bytes as base64, anything else as text."""
    return str(_plain(key)) if isinstance(key, enum.Enum | bytes) else str(key)


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal | uuid.UUID):  # asyncpg has a UUID class of its own
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.timedelta):
        return value.total_seconds()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")
