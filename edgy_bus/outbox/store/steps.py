"""Steps that transactions of the outbox share. Each runs in the transaction of its caller."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Executable, FromClause, and_, insert, or_, update

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.database import Database, Row
from edgy_bus.events import Partition
from edgy_bus.outbox import ledger, statements
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store.values import Standing
from edgy_bus.outbox.table import chunks, streams


def belongs_to(table: FromClause, partition: Partition) -> ColumnElement[bool]:
    """Match the rows of a partition."""
    return and_(table.c.model == partition.model, table.c.label == partition.name)


def stands_at(partition: Partition, head: StreamHead) -> ColumnElement[bool]:
    """Match the row of a stream if its head is `head`."""
    return and_(
        belongs_to(streams, partition),
        streams.c.epoch == head.epoch,
        streams.c.head_ms == head.entry.ms,
        streams.c.head_seq == head.entry.seq,
        streams.c.head_event == head.event_id,
    )


def ends_below(entry: EntryId) -> ColumnElement[bool]:
    """Match the chunks whose last entry lies below an entry."""
    ms, seq = chunks.c.last_ms, chunks.c.last_seq
    return or_(ms < entry.ms, and_(ms == entry.ms, seq < entry.seq))


def head_of(row: Row) -> StreamHead:
    """Return the head that the row of a stream contains."""
    return StreamHead(row["epoch"], EntryId(row["head_ms"], row["head_seq"]), row["head_event"])


def standing_of(row: Row) -> Standing:
    """Return the standing that the row of a stream contains."""
    # Head and confirmed part of one row: what is confirmed counts in the epoch of this head alone.
    return Standing(head_of(row), EntryId(row["confirmed_ms"], row["confirmed_seq"]))


async def move_head(
    database: Database, partition: Partition, old: StreamHead, new: StreamHead
) -> bool:
    """Move a head from `old` to `new`; False, and nothing changed, if the head is another."""
    # Compare-and-set: of two transactions that move one head, the second finds another head.
    moved = update(streams).where(stands_at(partition, old))
    values = {
        "epoch": new.epoch,
        "head_ms": new.entry.ms,
        "head_seq": new.entry.seq,
        "head_event": new.event_id,
    }
    return (await database.run(moved.values(values))).rowcount == 1


async def among(database: Database, statement: Executable, ids: Sequence[int]) -> list[Row]:
    """Run a statement about some ids."""
    if not ids:
        return []
    parameters = statements.ids_for(database.dialect.name, ids)
    return (await database.run(statement, parameters)).rows


async def take_pending(database: Database, ids: Sequence[int]) -> list[int]:
    """Make these events no longer pending; return the ids of the events that were."""
    # Rows that are not pending are left out: another relay may have marked them.
    rows = await among(database, statements.taking(database.dialect.name), ids)
    return [row["id"] for row in rows]


async def keep(database: Database, partition: Partition, placed: Placed) -> None:
    """Write down at which entries of their stream events stand."""
    # A repair may find nothing of a page; a chunk without events has no last entry.
    if not placed.ids:
        return
    last = placed.entries[-1]
    chunk = {
        "model": partition.model,
        "label": partition.name,
        "last_ms": last.ms,
        "last_seq": last.seq,
        "events": ledger.encode(placed),
    }
    await database.run(insert(chunks).values(chunk))
