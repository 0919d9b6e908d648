"""Confirms the events that every group has finished, and prunes the outbox."""

from sqlalchemy import and_, case, delete, func, or_, select, update

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.database import Database
from edgy_bus.events import Partition
from edgy_bus.outbox.store import steps
from edgy_bus.outbox.store.values import Standing
from edgy_bus.outbox.table import chunks, outbox, pending, streams

_PRUNED_AT_ONCE = 5_000


class TidyStore:
    """The questions and transactions of tidying."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def standings(self) -> dict[Partition, Standing]:
        """Return the head and the confirmed part of every stream."""
        standings: dict[Partition, Standing] = {}
        # One statement: what is confirmed counts in the epoch of this head alone.
        for row in (await self._database.run(select(streams))).rows:
            partition = Partition(row["model"], row["label"])
            confirmed = EntryId(row["confirmed_ms"], row["confirmed_seq"])
            standings[partition] = Standing(steps.head_of(row), confirmed)
        return standings

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
        finished = steps.belongs_to(chunks, partition), steps.ends_below(below)
        async with self._database.transaction():
            # The head may have begun another epoch, in which the entry is another event.
            if (await self._database.run(stream)).rowcount != 1:
                return False
            await self._database.run(delete(chunks).where(*finished))
        return True

    async def prune(self, created_before: int) -> int:
        """Delete the oldest published rows, some thousand of them; return their number.

        `created_before` is in milliseconds since 1970. The first row that is younger or pending
        ends the pruning, and the newest row of all stays: so every deleted row is older than every
        remaining row, and the ids that were given out stay known.
        """
        await self._database.run(delete(chunks).where(chunks.c.created < created_before))
        end = await self._end_of_old(created_before)
        if end is None:
            return 0
        # A row that commits only now, with a smaller id than others have, is young, and pending.
        old = (
            outbox.c.id < end,
            outbox.c.created < created_before,
            outbox.c.id.not_in(select(pending.c.id).where(pending.c.id < end)),
        )
        return (await self._database.run(delete(outbox).where(*old))).rowcount

    async def _end_of_old(self, created_before: int) -> int | None:
        """Return the id below which rows may be deleted; None if no row may."""
        page = select(outbox.c.id, outbox.c.created).order_by(outbox.c.id).limit(_PRUNED_AT_ONCE)
        rows = (await self._database.run(page)).rows
        if not rows or rows[0]["created"] >= created_before:
            return None
        oldest_pending = select(func.min(pending.c.id).label("id"))
        stays = (await self._database.run(oldest_pending)).rows[0]["id"]
        young = (row["id"] for row in rows if row["created"] >= created_before)
        end: int = next(young, rows[-1]["id"])
        return end if stays is None else min(stays, end)
