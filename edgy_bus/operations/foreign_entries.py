"""Entries that another program has added to a stream, which an outbox owns."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from edgy_bus.brokers.base import Broker, EntryId, Landmark
from edgy_bus.codec import unpack
from edgy_bus.errors import DatabaseError, EventError
from edgy_bus.events import Partition, partitions_of, service_of
from edgy_bus.operations.parts import Parts
from edgy_bus.outbox.table import outbox

LOOKED_AT = 20
"""The newest entries of a stream, which are looked at."""

STREAMS = 1_000
"""The most streams that are looked at: the broker answers a question about each."""

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ForeignEntry:
    """The newest foreign entry of a stream."""

    partition: Partition
    entry: EntryId


async def foreign_entries(
    parts: Parts, declared: Mapping[str, int], *, is_complete: bool
) -> tuple[ForeignEntry, ...]:
    """Return the newest entry of each ordered stream that no outbox has written. Only reads.

    Entries without a position among the events of a row are always recognised. The outboxes are
    asked for the others, if these are events of the service. After a restore of the database, the
    events that the database has lost are listed too.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        declared: the models with their numbers of partitions.
        is_complete: whether all outboxes of the service are there.
    """
    asked = parts.outboxes if is_complete else ()
    # Any program may announce `pre_*` events: their streams belong to no outbox.
    partitions = [
        partition
        for model in sorted(declared)
        for partition in partitions_of(model, declared[model])
    ]
    foreign: list[ForeignEntry] = []
    for at in range(0, min(len(partitions), STREAMS), _AT_ONCE):
        page = partitions[at : at + _AT_ONCE]
        entries = await asyncio.gather(*(_newest(parts.broker, each) for each in page))
        for partition, landmarks in zip(page, entries, strict=True):
            is_ours = bool(asked) and service_of(partition.model) == parts.service
            written = await _written(parts, landmarks) if is_ours else None
            foreign += _first_foreign(partition, landmarks, written)
    return tuple(foreign)


async def _newest(broker: Broker, partition: Partition) -> Sequence[Landmark]:
    # The empty text is in every header.
    return (await broker.search(partition, b"", count=LOOKED_AT, backwards=True)).landmarks


async def _written(parts: Parts, landmarks: Iterable[Landmark]) -> frozenset[str] | None:
    """Return the events among entries that an outbox has; None if an outbox cannot be read."""
    # By the id of the row, which is the event's sequence: no index knows event ids.
    numbers = [number for each in landmarks if (number := _sequence(each)) is not None]
    query = select(outbox.c.event_id).where(outbox.c.id.in_(numbers))
    written: set[str] = set()
    for store in parts.outboxes:
        # A service that has never started has no tables, and has a finding of its own.
        try:
            rows = (await store.database.run(query)).rows
        except DatabaseError:
            return None
        written |= {row["event_id"] for row in rows}
    return frozenset(written)


def _first_foreign(
    partition: Partition, landmarks: Iterable[Landmark], written: frozenset[str] | None
) -> list[ForeignEntry]:
    for landmark in landmarks:
        is_unknown = written is not None and landmark.event_id not in written
        if is_unknown or _sequence(landmark, partition.model) is None:
            return [ForeignEntry(partition, landmark.entry)]
    return []


def _sequence(landmark: Landmark, model: str | None = None) -> int | None:
    """Return the position of an event of a model, or of any; None if it has no valid position."""
    try:
        envelope = unpack({b"head": landmark.header, b"data": b""})
    except EventError:
        return None
    # A database refuses larger numbers with an error.
    sequence = envelope.sequence
    is_valid = sequence is not None and 0 < sequence < 2**63
    return sequence if is_valid and model in (None, envelope.model) else None
