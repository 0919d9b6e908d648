"""Encode and decode events: an id, a header, and data that stays bytes until a receiver needs it.

An entry of a stream has the fields `id` (the event's id), `head` (the event header, a JSON object
of CloudEvents attributes, which is enough for routing) and `data` (a JSON object, decoded only for
a receiver). orjson reads and writes the JSON, so nothing executable is ever deserialised.
"""

import base64
import datetime as dt
import decimal
import enum
import math
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from edgy_bus.errors import EventError
from edgy_bus.events import NO_CONTEXT, SCHEMA_VERSION, ContextValue, Event

SPEC_VERSION = "1.0"

_UNWRITABLE = (TypeError, ValueError, OverflowError, RecursionError)
# Datetimes pass through to `_plain`, because orjson 3.13 writes 00:00:00.010000 as 00:00:00.10000.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


class Wire(NamedTuple):
    """Hold the byte strings of an event, as the broker stores them."""

    id: str
    header: bytes
    data: bytes
    signature: bytes = b""


class Envelope(NamedTuple):
    """Hold an entry with its header decoded and its data as bytes."""

    # Decoding data is most of the cost of an entry. A worker needs only the header to find the
    # receivers of an entry, and many entries have no receiver here.

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
    causation: str | None
    context: Mapping[str, ContextValue]
    raw: bytes
    to: str | None = None
    """The receiver that the event is addressed to, as GROUP/RECEIVER; None for all receivers."""
    backfill: bool = False
    replay: str | None = None
    """The id of the event that this event is a copy of; None for an event that is no copy."""

    def open(self) -> Event:
        """Decode the data. Raises `EventError` if the data is not a JSON object."""
        data = loads(self.raw)
        if type(data) is not dict:
            raise EventError(f"the data of event {self.id} is not a JSON object")
        # The same as `Event(…)` at half the cost; this runs for every event and receiver.
        before, after = self[:_TIME], self[_TIME + 1 : _CONTEXT + 1]
        time = _time(self.time)
        return tuple.__new__(Event, (*before, time, data, *after, self.backfill, self.replay))


_TIME = Envelope._fields.index("time")
_CONTEXT = Envelope._fields.index("context")


def dumps(value: object) -> bytes:
    """Encode a value as JSON: dates as ISO 8601, decimals and UUIDs as text, bytes as base64.

    Raises:
        EventError: for a type without a JSON form, a circular value, or text that is not UTF-8.
    """
    with suppress(*_UNWRITABLE):
        return _dumps(value)
    try:
        # PostgreSQL returns the JSON number 1e22 as an integer if another program wrote it, and
        # orjson refuses integers beyond 64 bits. The second attempt keeps the common case free of
        # a walk through the value.
        return _dumps(_with_floats(value))
    except _UNWRITABLE as error:
        raise EventError(f"cannot be written as JSON: {error.__cause__ or error}") from error


def sorted_dumps(value: object) -> bytes:
    """Encode a value as JSON with sorted keys: equal objects are equal bytes. Raises as `dumps`."""
    return orjson.dumps(orjson.loads(dumps(value)), option=orjson.OPT_SORT_KEYS)


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def _with_floats(value: object) -> object:
    """Return a value with floats for integers beyond 64 bits that a float represents exactly."""
    if isinstance(value, Mapping):
        return {key: _with_floats(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_floats(inner) for inner in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        number = float(value)
        # Equal to the float's value, or to its shortest notation: 10**23 differs from the value of
        # float(10**23), but that float is written as 1e23, the same number in JSON.
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
    """Hold an event's position among the events of its row; `sequence` is None without position."""

    sequence: int | None = None
    incarnation: int = 1
    subject: str | None = None


RESERVED = frozenset(
    {
        *("specversion", "id", "source", "type", "subject", "time"),
        *("data", "datacontenttype", "dataschema", "schemaversion", "sequence", "incarnation"),
        *("traceparent", "tracestate", "to", "causationid", "backfill", "replayof"),
    }
)
"""Names of attributes that an event's context cannot set."""

BACKFILL = "backfill"
"""The attribute of an event that repeats a row. The outbox keeps it beside the context."""

REPLAY = "replayof"
"""The attribute of a copy: the id of the original. The outbox keeps it beside the context."""

CONTEXT_BYTES = 1024
"""The most bytes of an event's context, as JSON."""

_CONTEXT_TYPES = (str, int, float, bool)
_CONTEXT_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def check_context(context: Mapping[str, object]) -> None:
    """Check that events can carry a context. Raises `EventError`, which contains no value."""
    for name, value in context.items():
        if not _CONTEXT_NAME.fullmatch(name):
            raise EventError(
                f"a context cannot have the name {name[:80]!r}: names have up to 64 lower-case "
                "letters, digits and '_', and start with a letter"
            )
        if name in RESERVED:
            raise EventError(f"a context cannot have {name!r}, an attribute of every event")
        if type(value) not in _CONTEXT_TYPES or not _is_portable(value):
            raise EventError(
                f"a context takes text, finite numbers of 64 bits, True and False; {name!r} is "
                f"a {type(value).__name__} that is none of them"
            )
    try:
        size = len(dumps(context))
    except EventError as error:
        raise EventError(f"a context {error}") from None
    if size > CONTEXT_BYTES:
        raise EventError(
            f"a context of {size:,} bytes is larger than the {CONTEXT_BYTES:,} bytes that an event "
            "carries: give ids, not whole objects"
        )


def _is_portable(value: object) -> bool:
    """Return whether a number comes back from JSON as it was."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, float) or math.isfinite(value)


class HeaderPacker:
    """Encode the headers of a model's events: a JSON object of CloudEvents attributes.

    An attribute without a value is left out.
    """

    # Most attributes are the same for every event of a signal. Their JSON is encoded once and kept.

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
        """Return the header of an event; `context` is what `stored_context` makes."""
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
            header |= _stored_attributes(context)
        beginning = self._beginnings.get(signal) or self._beginning(signal)
        return beginning + orjson.dumps(header)[1:]

    def _beginning(self, signal: str) -> bytes:
        """Return the open JSON object of the attributes that all events of a signal share."""
        shared = {
            "specversion": SPEC_VERSION,
            "source": self._source,
            "type": f"{self._model}.{signal}",
            "schemaversion": SCHEMA_VERSION,
        }
        self._beginnings[signal] = orjson.dumps(shared)[:-1] + b","
        return self._beginnings[signal]


def stored_context(
    context: Mapping[str, ContextValue], *, backfill: bool = False, replay: str | None = None
) -> str | None:
    """Return the attributes of an event that the outbox keeps as a JSON object; None without any.

    Args:
        context: the context of the event.
        backfill: whether the event repeats a row.
        replay: the id of the event that the event is a copy of.
    """
    attributes = {**context, BACKFILL: True} if backfill else context
    if replay is not None:
        attributes = {**attributes, REPLAY: replay}
    return dumps(attributes).decode() if attributes else None


def context_of_copy(stored: str | None, event_id: str) -> str:
    """Return what the outbox keeps for the copy of an event: its context, and the event's id."""
    attributes = {} if stored is None else _stored_attributes(stored)
    return dumps({**attributes, REPLAY: event_id}).decode()


def _stored_attributes(text: str) -> Mapping[str, ContextValue]:
    """Decode what `stored_context` made; attributes that no context has are left out."""
    # No error for an invalid context: an outbox row that an operator has edited must not stop its
    # stream.
    try:
        stored = loads(text)
    except EventError:
        return {}
    if type(stored) is not dict:
        return NO_CONTEXT
    attributes = dict(_context(stored))
    if stored.get(BACKFILL) is True:
        attributes[BACKFILL] = True
    if type(stored.get(REPLAY)) is str:
        attributes[REPLAY] = stored[REPLAY]
    return attributes


def _context(attributes: Mapping[str, Any]) -> Mapping[str, ContextValue]:
    """Return the attributes that are a context."""
    return {
        name: value
        for name, value in attributes.items()
        if name not in RESERVED and type(value) in _CONTEXT_TYPES
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
        causation=event.causation,
        context=stored_context(event.context, backfill=event.backfill, replay=event.replay),
    )
    return Wire(event.id, header, dumps(event.data))


@lru_cache(maxsize=1024)
def _packer(source: str, model: str) -> HeaderPacker:
    return HeaderPacker(source, model)


def unpack(fields: Mapping[bytes, bytes]) -> Envelope:
    """Decode the header of a stream entry.

    Raises:
        EventError: if the entry is not a valid event; the text names the reason.
    """
    try:
        raw_header, data = fields[b"head"], fields[b"data"]
    except KeyError as error:
        raise EventError(f"the entry has no field {error.args[0].decode()!r}") from None
    header = _known_header(raw_header)
    get = header.get
    event_id, source, kind, time = get("id"), get("source"), get("type"), get("time")
    subject, traceparent, to = get("subject"), get("traceparent"), get("to")
    sequence, incarnation, causation = get("sequence"), get("incarnation"), get("causationid")
    replay = get(REPLAY)
    # One check for valid headers, which are nearly all. `_misfit` finds the reason for the rest.
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
    # The same as `Envelope(…)` at half the cost; this runs for every entry.
    return tuple.__new__(
        Envelope,
        (
            event_id,
            source,
            model,
            signal,
            subject,
            time,
            sequence,
            incarnation or 1,
            SCHEMA_VERSION,
            traceparent or None,
            causation if type(causation) is str else None,
            NO_CONTEXT if RESERVED.issuperset(header) else _context(header),
            data,
            to,
            get(BACKFILL) is True,
            replay if type(replay) is str else None,
        ),
    )


def _known_header(raw: bytes) -> dict[str, Any]:
    """Decode an event header. Raises `EventError` for another form, or an unknown version."""
    header = loads(raw)
    if type(header) is not dict:
        raise EventError("the entry's header is not a JSON object")
    spec_version = header.get("specversion")
    version = header.get("schemaversion", SCHEMA_VERSION)
    if spec_version != SPEC_VERSION or version != SCHEMA_VERSION:
        raise EventError(
            f"unknown version: specversion {_shown(spec_version)}, schemaversion {_shown(version)}"
        )
    return header


def numbering(header: bytes) -> Numbering:
    """Read sequence, incarnation and subject from an event header.

    Returns a `Numbering` without a sequence for invalid bytes, and for numbers out of range.
    """
    try:
        envelope = unpack({b"head": header, b"data": b""})
    except EventError:
        return Numbering()
    # Foreign bytes on a stream must not stop the relay: the outbox columns are a signed 64-bit and
    # a 32-bit integer, and a database refuses larger numbers with an error.
    sequence, incarnation = envelope.sequence, envelope.incarnation
    if sequence is None or not 0 < sequence < 2**63 or not 0 < incarnation < 2**30:
        return Numbering()
    return Numbering(sequence, incarnation, envelope.subject)


_TEXTS = ("type", "id", "source", "time")
_OPTIONAL_TEXTS = ("subject", "traceparent")


def _misfit(header: Mapping[str, Any]) -> str:
    """Describe the first attribute of a header that is missing or has the wrong type."""
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
    sequence = header.get("sequence")
    name = "incarnation" if sequence is None or type(sequence) is int else "sequence"
    return f"the event's {name!r} is not a whole number"


def _shown(value: object) -> str:
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
    # Text, because a JSON number would be read as a float and lose digits. Never in scientific
    # notation: PostgreSQL writes decimals of the same events, and both must be equal.
    (decimal.Decimal, lambda value: format(value, "f")),
    # orjson writes `uuid.UUID` itself, but not the subclass that asyncpg returns.
    (uuid.UUID, str),
    ((bytes, bytearray, memoryview), lambda value: base64.b64encode(value).decode()),
    (dt.timedelta, dt.timedelta.total_seconds),
    (enum.Enum, lambda value: value.value),
    # Sorted, so that the same set always gives the same bytes.
    ((set, frozenset), sorted),
)
"""Converters of values that orjson does not write as needed, by the first type that matches."""
