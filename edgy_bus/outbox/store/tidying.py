"""Confirms the events that every group has finished, and prunes the outbox."""

from collections.abc import Collection

from sqlalchemy import and_, case, delete, exists, func, or_, select, update

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.database import Database
from edgy_bus.database.clock import DatabaseClock
from edgy_bus.events import Partition
from edgy_bus.outbox import statements
from edgy_bus.outbox.store import steps
from edgy_bus.outbox.store.values import Standing
from edgy_bus.outbox.table import chunks, outbox, pending, streams

_PRUNED_AT_ONCE = 1_000

_OLDEST = select(outbox.c.created, DatabaseClock().label("now")).order_by(outbox.c.id).limit(1)


class TidyStore:
    """The questions and transactions of tidying."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = database.dialect.name

    async def standings(self, partitions: Collection[Partition]) -> dict[Partition, Standing]:
        """Return the head and the confirmed part of these streams."""
        names = statements.names_for(self._dialect, [str(partition) for partition in partitions])
        rows = (await self._database.run(statements.streams_of(self._dialect), names)).rows
        return {Partition(row["model"], row["label"]): steps.standing_of(row) for row in rows}

    async def confirm(self, partition: Partition, head: StreamHead, below: EntryId) -> bool:
        """Note that every group has finished the entries below an entry.

        Returns:
            False, and nothing is changed, if the head of the stream is not `head` any more.

        A confirmed entry stays confirmed: a group that begins anew, or was rolled back, has
        finished the entry all the same.
        """
        ms, seq = streams.c.confirmed_ms, streams.c.confirmed_seq
        same_ms = and_(ms == below.ms, seq < below.seq)
        further = or_(ms < below.ms, same_ms)
        values = {
            "confirmed_ms": case((further, below.ms), else_=ms),
            "confirmed_seq": case((further, below.seq), else_=seq),
        }
        stream = update(streams).where(steps.stands_at(partition, head)).values(values)
        finished = delete(chunks).where(
            steps.belongs_to(chunks, partition), steps.ends_below(below)
        )
        # In both ways below the head is compared first: it may have begun another epoch, in which
        # the entry is another event.
        if self._dialect == statements.POSTGRESQL:
            # One statement: hundreds of streams are confirmed while events wait.
            confirmed = stream.returning(streams.c.model).cte("confirmed")
            finished = finished.where(exists(select(confirmed.c.model)))
            noted = select(confirmed.c.model).add_cte(finished.cte("finished"))
            return bool((await self._database.run(noted)).rows)
        async with self._database.transaction():
            if (await self._database.run(stream)).rowcount != 1:
                return False
            await self._database.run(finished)
        return True

    async def prune(self, retention: float) -> int:
        """Delete the oldest published rows, some hundreds of them; return their number.

        Rows stay for `retention` seconds by the clock of the database. The first row that is
        younger or pending ends the pruning, and the newest row of all stays: so every deleted row
        is older than every remaining row, and the ids that were given out stay known. Nothing is
        written where no row is old.
        """
        # The oldest row alone tells whether anything is to be done: a round without old rows
        # reads a single row.
        rows = (await self._database.run(_OLDEST)).rows
        if not rows:
            return 0
        before = rows[0]["now"] - int(retention * 1000)
        if rows[0]["created"] >= before:
            return 0
        await self._prune_chunks(before)
        first, end = await self._old_page(before)
        if first == end:
            return 0
        # A row that commits only now, with a smaller id than others have, is young, and pending.
        old = (
            outbox.c.id < end,
            outbox.c.created < before,
            outbox.c.id.not_in(select(pending.c.id).where(pending.c.id < end)),
        )
        return (await self._database.run(delete(outbox).where(*old))).rowcount

    async def _prune_chunks(self, before: int) -> None:
        """Delete the chunks of rows that are pruned."""
        # Looked for first: on SQLite, a DELETE of nothing takes the lock of the file as well.
        old = select(exists().where(chunks.c.created < before).label("any"))
        if (await self._database.run(old)).rows[0]["any"]:
            await self._database.run(delete(chunks).where(chunks.c.created < before))

    async def _old_page(self, before: int) -> tuple[int, int]:
        """Return the oldest id, and the id below which rows may be deleted."""
        page = select(outbox.c.id, outbox.c.created).order_by(outbox.c.id).limit(_PRUNED_AT_ONCE)
        rows = (await self._database.run(page)).rows
        oldest_pending = select(func.min(pending.c.id).label("id"))
        stays = (await self._database.run(oldest_pending)).rows[0]["id"]
        young = (row["id"] for row in rows if row["created"] >= before)
        end: int = next(young, rows[-1]["id"])
        return rows[0]["id"], end if stays is None else min(stays, end)
