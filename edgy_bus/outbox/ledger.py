"""The text in which a chunk of published events is kept: the outbox row at each entry of a stream.

The text is a JSON list of runs `[milliseconds, counter, first id, difference to the next id, …]`.
The entries of a run follow each other in one millisecond, and ids lie close together, so that an
event takes two or three bytes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgy_bus.brokers.base import EntryId
from edgy_bus.codec import dumps, loads


class Placed(NamedTuple):
    """Outbox ids in the order of their stream, and the entry of each."""

    ids: Sequence[int]
    entries: Sequence[EntryId]


def encode(placed: Placed) -> str:
    """Return the text of a chunk with at least one event."""
    runs: list[list[int]] = []
    last_ms, next_seq, last_id = -1, -1, 0
    for number, (ms, seq) in zip(placed.ids, placed.entries, strict=True):
        if ms != last_ms or seq != next_seq:
            runs.append([ms, seq])
            last_ms, next_seq, last_id = ms, seq, 0
        # A difference may be negative: an event with a smaller id may commit, and be appended,
        # later.
        runs[-1].append(number - last_id)
        next_seq, last_id = next_seq + 1, number
    return dumps(runs).decode()


def decode(text: str) -> Placed:
    """Return the chunk of a text."""
    ids: list[int] = []
    entries: list[EntryId] = []
    for ms, first_seq, *steps in loads(text):
        number = 0
        for seq, step in enumerate(steps, first_seq):
            number += step
            ids.append(number)
            entries.append(EntryId(ms, seq))
    return Placed(ids, entries)


def since(placed: Placed, first: EntryId) -> list[int]:
    """Return the ids at or behind an entry."""
    return [number for number, entry in _pairs(placed) if entry >= first]


def only(placed: Placed, ids: Iterable[int]) -> Placed:
    """Return the part of a chunk that has these ids."""
    wanted = set(ids)
    pairs = [(number, entry) for number, entry in _pairs(placed) if number in wanted]
    return Placed([number for number, _ in pairs], [entry for _, entry in pairs])


def _pairs(placed: Placed) -> Iterable[tuple[int, EntryId]]:
    return zip(placed.ids, placed.entries, strict=True)
