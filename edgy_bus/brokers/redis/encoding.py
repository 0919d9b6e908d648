"""Values as arguments and replies of Redis: heads, proofs, letters, entries."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import DeadLetter, EntryId, Kept, Landmark, Lease, StreamHead
from edgy_bus.brokers.redis.client import Argument

_EVENT = b"event."
"""Begins the name of every field of a letter that is a field of the event."""


def milliseconds(seconds: float) -> int:
    """Return a duration in whole milliseconds, at least one."""
    # Redis refuses a lease of zero milliseconds with an error.
    return max(1, int(seconds * 1000))


def head_arguments(head: StreamHead) -> tuple[str, str, bytes]:
    """Return epoch, entry and event id of a head."""
    # A forged entry may have any bytes as its event id. Latin-1 maps bytes to text and back.
    return head.epoch, str(head.entry), head.event_id.encode("latin-1", "replace")


def tenure_arguments(lease: Lease) -> tuple[str, str]:
    """Return holder and epoch of a lease."""
    return lease.holder, lease.epoch


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
    for name, value in letter.fields.items():
        arguments += (_EVENT + name, value)
    return arguments


def read_letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """Return the letter that an entry of a side stream contains."""
    event = {
        name.removeprefix(_EVENT): value
        for name, value in fields.items()
        if name.startswith(_EVENT)
    }
    return DeadLetter(
        entry=EntryId.parse(fields.get(b"entry", b"0-0")),
        receiver=fields.get(b"receiver", b"").decode(),
        reason=fields.get(b"reason", b"").decode("utf-8", "replace"),
        attempts=int(fields.get(b"attempts", b"0")),
        fields=event,
    )


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
