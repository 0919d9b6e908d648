"""Values as arguments and replies of Redis: heads, proofs, letters, entries."""

import re
from collections.abc import Iterable, Mapping, Sequence

from edgy_bus.brokers.base import (
    REMOVED,
    START,
    DeadLetter,
    EntryId,
    Kept,
    Landmark,
    Lease,
    LetterLimits,
    StreamHead,
)
from edgy_bus.brokers.redis.connections import Argument

_EVENT = b"event."
"""Begins the name of every field of a letter that is a field of the event."""

_MORE = b"more"
"""The field of a letter with all further fields of an event that has too many."""

_FIELDS = 100
"""The most fields of an event that have fields of their own in a letter.

An event has four. An entry may have any number, and Lua's stack bounds the arguments of a call.
"""


def text_of(raw: bytes) -> str:
    """Return the text in a key or field, where another program may have written anything."""
    return raw.decode("utf-8", "replace")


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds, at least one."""
    # Redis refuses a lease of zero milliseconds with an error.
    return max(1, int(seconds * 1000))


def head_arguments(head: StreamHead) -> tuple[str, str, bytes]:
    """Return epoch, entry and event id of a head."""
    # A forged entry may have any bytes as its event id. Latin-1 maps bytes to text and back.
    return head.epoch, str(head.entry), head.event_id.encode("latin-1", "replace")


def tenure_arguments(lease: Lease) -> tuple[str, str, int]:
    """Return holder and epoch of a lease, and the last write that the broker has confirmed."""
    return lease.holder, lease.epoch, lease.confirmed.write


def proof_arguments(kept: Kept) -> tuple[str, bytes]:
    """Return a proof as the notes contain it: field, and the id of the kept event."""
    return f"{kept.entry} {kept.receiver}", kept.event_id


def proofs_arguments(kept: Sequence[Kept]) -> list[Argument]:
    """Return the number of proofs, and all proofs."""
    arguments: list[Argument] = [len(kept)]
    for proof in kept:
        arguments += proof_arguments(proof)
    return arguments


def letter_arguments(letter: DeadLetter) -> list[Argument]:
    """Return the fields of a letter, names and values alternating."""
    arguments: list[Argument] = ["entry", str(letter.entry), "receiver", letter.receiver]
    # An error text may contain lone surrogates, which UTF-8 cannot encode.
    reason = letter.reason.encode("utf-8", "replace")
    arguments += ("reason", reason, "attempts", letter.attempts)
    fields = list(letter.fields.items())
    for name, value in fields[:_FIELDS]:
        arguments += (_EVENT + name, value)
    if len(fields) > _FIELDS:
        arguments += (_MORE, _pack(fields[_FIELDS:]))
    return arguments


def limit_arguments(limits: LetterLimits) -> tuple[int, int, int]:
    """Return the age in milliseconds and the number of letters to keep, and the most to remove."""
    age = 0 if limits.seconds is None else milliseconds(limits.seconds)
    return age, limits.most or 0, REMOVED


def _pack(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return fields as one value: length, colon and bytes of each name and value."""
    return b"".join(b"%d:%b" % (len(part), part) for field in fields for part in field)


def _unpack(packed: bytes) -> dict[bytes, bytes]:
    """Return the fields that `_pack` wrote, up to bytes that another program wrote."""
    parts: list[bytes] = []
    start = 0
    while length := re.compile(rb"(\d{1,10}):").match(packed, start):
        start = length.end() + int(length[1])
        parts.append(packed[length.end() : start])
    return dict(zip(parts[::2], parts[1::2], strict=False))


def read_letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Return the letter that an entry of a side stream contains. Foreign entries lack values."""
    event = {
        name.removeprefix(_EVENT): value
        for name, value in fields.items()
        if name.startswith(_EVENT)
    }
    attempts = fields.get(b"attempts", b"")
    return DeadLetter(
        entry=_entry_id(fields.get(b"entry", b"")),
        receiver=text_of(fields.get(b"receiver", b"")),
        reason=text_of(fields.get(b"reason", b"")),
        attempts=int(attempts) if attempts.isdigit() else 0,
        fields=event | _unpack(fields.get(_MORE, b"")),
    )


def _entry_id(raw: bytes) -> EntryId:
    return EntryId.parse(raw) if re.fullmatch(rb"\d+-\d+", raw) else START


def read_fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the fields of an entry, given as names and values alternating."""
    # Nearly every entry has three fields; the general way costs three times as much.
    if len(flat) == 6:
        return {flat[0]: flat[1], flat[2]: flat[3], flat[4]: flat[5]}
    return dict(zip(flat[::2], flat[1::2], strict=True))


def read_landmark(raw: Sequence[bytes]) -> Landmark:
    """Return the landmark that a script describes as entry id, event id and header."""
    entry, event_id, header = raw
    return Landmark(EntryId.parse(entry), event_id.decode("latin-1"), header)
