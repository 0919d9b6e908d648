"""What the outbox tables are asked and told, each question one statement or one transaction.

The relay's safety rests on two rules kept here: a partition's head and its pending rows are read in one step, and every change of state
compares the head with the one that the caller read (compare-and-set), changing nothing if it has moved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, and_, bindparam, delete, func, insert, or_, select, update

from edgy_bus.brokers.base import EntryId, Head, StreamState
from edgy_bus.database import Database, Row
from edgy_bus.events import Partition
from edgy_bus.outbox.table import CONFIRMED, PENDING, PUBLISHED, groups, metadata, outbox, streams

_INSERT = insert(outbox)
_RELABEL = (
    update(outbox).where(outbox.c.id == bindparam("which"), outbox.c.status == PENDING).values(label=bindparam("new"))
)


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An outbox row that is not in its stream yet."""

    id: int
    event_id: str
    signal: str
    subject: str | None
    time: str
    traceparent: str | None
    data: str


@dataclass(slots=True)
class Pending:
    """What is to be appended to a stream next, and where the stream stands; None for one that has no head yet."""

    head: Head | None
    incarnation: int
    rows: list[PendingRow] = field(default_factory=list)


_HEAD = (streams.c.epoch, streams.c.head_ms, streams.c.head_seq, streams.c.head_event, streams.c.incarnation)


class OutboxStore:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def prepare(self) -> None:
        """Create the tables where they are missing."""
        await self.database.create_tables(metadata)

    async def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write events; the caller's transaction decides whether they ever happened."""
        if len(rows) == 1:
            await self.database.run(_INSERT, rows[0])
        else:
            await self.database.run_many(_INSERT, rows)

    async def heads(self) -> dict[Partition, Head]:
        """Where the database believes every stream to stand."""
        result = await self.database.run(select(streams))
        return {Partition(row["model"], row["label"]): _head(row) for row in result.rows}

    async def add_stream(self, partition: Partition) -> None:
        """Begin to keep the head of a stream. Two relays may do it at once."""
        known = select(streams.c.model).where(_is(streams, partition))
        async with self.database.transaction():
            if not (await self.database.run(known)).rows:
                await self.database.run(
                    insert(streams).values(
                        model=partition.model, label=partition.label, epoch="", head_ms=0, head_seq=0, head_event=""
                    )
                )

    async def pending(self, limit: int) -> dict[Partition, Pending]:
        """The oldest pending rows, in the order of their ids, by partition, each with the head of its stream.

        One statement, so that both are of the same moment: a head that is older than the rows may be where a rolled back stream
        stands now, and they do not come next there.
        """
        query = (
            select(outbox, *_HEAD)
            .outerjoin(streams, and_(streams.c.model == outbox.c.model, streams.c.label == outbox.c.label))
            .where(outbox.c.status == PENDING)
            .order_by(outbox.c.id)
            .limit(limit)
        )
        found: dict[Partition, Pending] = {}
        for row in (await self.database.run(query)).rows:
            partition = Partition(row["model"], row["label"])
            if partition not in found:
                found[partition] = Pending(None if row["epoch"] is None else _head(row), row["incarnation"] or 1)
            found[partition].rows.append(
                PendingRow(
                    id=row["id"],
                    event_id=row["event_id"],
                    signal=row["signal"],
                    subject=row["subject"],
                    time=row["time"],
                    traceparent=row["traceparent"],
                    data=row["data"],
                )
            )
        return found

    async def relabel(self, labels: Mapping[int, str]) -> None:
        """Give pending rows (outbox id to label) another partition of their model."""
        rows = [{"which": which, "new": label} for which, label in labels.items()]
        await self.database.run_many(_RELABEL, rows)

    async def mark(self, partition: Partition, old: Head, new: Head, placed: Mapping[int, EntryId]) -> bool:
        """Rows `placed` (outbox id to entry) are in the stream, and it stands at `new`; False if the head was not `old`."""
        async with self.database.transaction():
            if not await self._move_head(partition, old, new):
                return False
            await self._place(outbox.c.id, placed)
        return True

    async def resynchronise(self, partition: Partition, old: Head, state: StreamState) -> bool:
        """Believe the stream: what lies behind the old head is published. If its epoch is another, what was published and is not
        there is pending again, unless every group has finished it. False, and nothing changed, if the head was not `old`."""
        mine = and_(_is(outbox, partition), outbox.c.status == PUBLISHED)
        async with self.database.transaction():
            if not await self._move_head(partition, old, state.head):
                return False
            if state.epoch != old.epoch:
                confirmed = await self._confirmed(partition)
                await self.database.run(update(outbox).where(mine, _below(confirmed)).values(status=CONFIRMED))
                await self.database.run(
                    update(outbox).where(mine).values(status=PENDING, entry_ms=None, entry_seq=None)
                )
                # The rows know it now. What the stream appends from here on may have smaller numbers than it had.
                await self.database.run(
                    update(streams).where(_is(streams, partition)).values(confirmed_ms=0, confirmed_seq=0)
                )
            await self._place(outbox.c.event_id, {mark.event_id: mark.entry for mark in state.behind})
        return True

    async def confirm(self, partition: Partition, head: Head, below: EntryId) -> bool:
        """Every group has finished what lies below; False, and nothing changed, if the head is not `head` any more."""
        result = await self.database.run(
            update(streams).where(_stands_at(partition, head)).values(confirmed_ms=below.ms, confirmed_seq=below.seq)
        )
        return result.rowcount == 1

    async def groups(self) -> dict[str, set[str]]:
        """The groups that hear of every model."""
        found: dict[str, set[str]] = {}
        for row in (await self.database.run(select(groups))).rows:
            found.setdefault(row["model"], set()).add(row["name"])
        return found

    async def add_group(self, model: str, name: str) -> None:
        """A group was seen on a stream of the model. Two relays may see it at once."""
        known = select(groups.c.name).where(groups.c.model == model, groups.c.name == name)
        async with self.database.transaction():
            if not (await self.database.run(known)).rows:
                await self.database.run(insert(groups).values(model=model, name=name))

    async def forget_group(self, name: str) -> int:
        """The group is gone for good: nothing waits for it any more. Answers from how many models."""
        return (await self.database.run(delete(groups).where(groups.c.name == name))).rowcount

    async def prune(self, created_before: int) -> int:
        """Delete published rows that are older (milliseconds since 1970); answers how many. Pending rows stay."""
        gone = delete(outbox).where(outbox.c.status != PENDING, outbox.c.created < created_before)
        return (await self.database.run(gone)).rowcount

    async def count_pending(self) -> int:
        query = select(func.count().label("n")).where(outbox.c.status == PENDING)
        return int((await self.database.run(query)).rows[0]["n"])

    async def count_all(self) -> int:
        return int((await self.database.run(select(func.count(outbox.c.id).label("n")))).rows[0]["n"])

    async def _move_head(self, partition: Partition, old: Head, new: Head) -> bool:
        result = await self.database.run(
            update(streams)
            .where(_stands_at(partition, old))
            .values(epoch=new.epoch, head_ms=new.entry.ms, head_seq=new.entry.seq, head_event=new.event_id)
        )
        return result.rowcount == 1

    async def _confirmed(self, partition: Partition) -> EntryId:
        row = (await self.database.run(select(streams).where(_is(streams, partition)))).rows[0]
        return EntryId(row["confirmed_ms"], row["confirmed_seq"])

    async def _place(self, column: ColumnElement[Any], placed: Mapping[Any, EntryId]) -> None:
        if not placed:
            return
        rows = [{"which": which, "ms": entry.ms, "seq": entry.seq} for which, entry in placed.items()]
        await self.database.run_many(_placing(column), rows)


@cache
def _placing(column: ColumnElement[Any]) -> Executable:
    return (
        update(outbox)
        .where(column == bindparam("which"), outbox.c.status != CONFIRMED)
        .values(status=PUBLISHED, entry_ms=bindparam("ms"), entry_seq=bindparam("seq"))
    )


def _is(table: Any, partition: Partition) -> ColumnElement[bool]:
    return and_(table.c.model == partition.model, table.c.label == partition.label)


def _head(row: Row) -> Head:
    return Head(row["epoch"], EntryId(row["head_ms"], row["head_seq"]), row["head_event"])


def _stands_at(partition: Partition, head: Head) -> ColumnElement[bool]:
    return and_(
        _is(streams, partition),
        streams.c.epoch == head.epoch,
        streams.c.head_ms == head.entry.ms,
        streams.c.head_seq == head.entry.seq,
        streams.c.head_event == head.event_id,
    )


def _below(entry: EntryId) -> ColumnElement[bool]:
    ms, seq = outbox.c.entry_ms, outbox.c.entry_seq
    return or_(ms < entry.ms, and_(ms == entry.ms, seq < entry.seq))
