"""Makes the database agree with a stream that does not stand where the database left the stream."""

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, exists, func, select, update

from edgy_bus.brokers.base import EntryId, Landmark, StreamHead
from edgy_bus.codec import numbering
from edgy_bus.database import Database
from edgy_bus.events import Partition
from edgy_bus.outbox import ledger, statements
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import steps
from edgy_bus.outbox.store.values import Recognised, Repair, newest_of, strangers_of
from edgy_bus.outbox.table import chunks, outbox, pending, streams

_CHUNKS_AT_ONCE = 20
_ROWS_AT_ONCE = 1_000


class RepairStore:
    """The questions and transactions of a repair."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = database.dialect.name

    async def recognise(self, landmarks: Sequence[Landmark]) -> Recognised:
        """Return the outbox rows behind these entries of a stream, by the ids in the entries.

        Rows never change, so no transaction is needed. A pruned row is older than the oldest
        row: a younger event without a row is a stranger.
        """
        numbers = [numbering(mark.header) for mark in landmarks]
        sequences = [number.sequence for number in numbers if number.sequence is not None]
        rows = await steps.among(self._database, statements.events_of(self._dialect), sequences)
        events = {row["id"]: row["event_id"] for row in rows}
        oldest = await self._oldest()
        ids: list[int] = []
        entries: list[EntryId] = []
        newest: dict[str, int] = {}
        strangers = 0
        for mark, (sequence, incarnation, subject) in zip(landmarks, numbers, strict=True):
            if sequence is None:
                continue
            if events.get(sequence) == mark.event_id:
                ids.append(sequence)
                entries.append(mark.entry)
            elif sequence >= oldest:
                strangers = max(strangers, incarnation)
                continue
            if subject is not None:
                newest[subject] = max(sequence, newest.get(subject, 0))
        return Recognised(Placed(ids, entries), strangers, newest)

    async def resynchronise(
        self,
        partition: Partition,
        old: StreamHead,
        new: StreamHead,
        recognised: Sequence[Recognised],
    ) -> Repair:
        """Accept the stream as it is: its head is `new`, and the recognised events are published.

        In another epoch, published events that the stream lacks are pending again. Events that
        every group has finished are not, unless the stream has an older event of the same row.
        With strangers, pending events that the stream lacks belong to an incarnation above the
        strangers'. Nothing is changed if the head was not `old`.
        """
        strangers = strangers_of(recognised)
        behind: list[int] = []
        if new.epoch != old.epoch:
            # Before the transaction, which other programs wait for: rows never change, and events
            # of the stream that are published meanwhile move the head.
            behind = await self._published_behind(partition, newest_of(recognised))
        again = 0
        # First of all the head: it locks the stream's row, so that repairs and marks of one stream
        # wait for each other, and the second changes nothing.
        async with self._database.transaction():
            if not await steps.move_head(self._database, partition, old, new):
                return Repair(done=False)
            # Before rows become pending again: they have been published in the old incarnation.
            published = await self._newest_published(partition) if strangers else 0
            if new.epoch != old.epoch:
                await self._begin_anew(partition)
                again = await self._send_again(behind)
            for placed in (page.placed for page in recognised):
                ids = await steps.take_pending(self._database, placed.ids)
                await steps.keep(self._database, partition, ledger.only(placed, ids))
                published = max([published, *ids])
            restored = bool(strangers) and await self._raise_incarnation(
                partition, strangers, published
            )
        return Repair(done=True, restored=restored, again=again)

    async def _oldest(self) -> int:
        """Return the id of the oldest row of the outbox; 0 without rows."""
        oldest = select(func.min(outbox.c.id).label("id"))
        return (await self._database.run(oldest)).rows[0]["id"] or 0

    async def _begin_anew(self, partition: Partition) -> None:
        """Make every published event of a partition pending again, unless it is confirmed."""
        stream = steps.belongs_to(streams, partition)
        row = (await self._database.run(select(streams).where(stream))).rows[0]
        confirmed = EntryId(row["confirmed_ms"], row["confirmed_seq"])
        oldest_first = (
            select(chunks)
            .where(steps.belongs_to(chunks, partition))
            .order_by(chunks.c.last_ms, chunks.c.last_seq)
            .limit(_CHUNKS_AT_ONCE)
        )
        # A few chunks at a time: a stream that nobody trims has any number of them.
        while rows := (await self._database.run(oldest_first)).rows:
            for chunk in rows:
                await self._send_again(ledger.since(ledger.decode(chunk["events"]), confirmed))
            last = EntryId(rows[-1]["last_ms"], rows[-1]["last_seq"])
            read = steps.belongs_to(chunks, partition), steps.ends_below(last.next)
            await self._database.run(delete(chunks).where(*read))
        # The ledger contains the confirmed part now. In the new epoch, entries may get smaller
        # numbers than they had.
        anew = update(streams).where(stream).values(confirmed_ms=0, confirmed_seq=0)
        await self._database.run(anew)

    async def _send_again(self, ids: Sequence[int]) -> int:
        """Make published events pending again; return the number of those that were not pending."""
        statement = statements.sending_again(self._dialect)
        again = 0
        for at in range(0, len(ids), _ROWS_AT_ONCE):
            page = ids[at : at + _ROWS_AT_ONCE]
            again += len(await steps.among(self._database, statement, page))
        return again

    async def _published_behind(self, partition: Partition, newest: Mapping[str, int]) -> list[int]:
        """Return the published events that follow an event of their row in the stream.

        Args:
            partition: the partition of the stream.
            newest: the newest event of each row in the stream, by subject.
        """
        # An older copy of the stream has come back. A group may handle events of the copy again,
        # also before the relay has seen the loss, and would be left with an old state of a row if
        # the newer events, which it has finished, did not come again behind them.
        behind: list[int] = []
        after = min(newest.values(), default=0)
        following = (
            select(outbox.c.id, outbox.c.subject)
            .where(steps.belongs_to(outbox, partition), outbox.c.id > bindparam("after"))
            .where(~exists().where(pending.c.id == outbox.c.id))
            .order_by(outbox.c.id)
            .limit(_ROWS_AT_ONCE)
        )
        while newest and (rows := (await self._database.run(following, {"after": after})).rows):
            behind += (
                row["id"] for row in rows if row["id"] > newest.get(row["subject"], row["id"])
            )
            after = rows[-1]["id"]
        return behind

    async def _newest_published(self, partition: Partition) -> int:
        """Return the greatest id of a row that is not pending; 0 without such a row."""
        published = (
            select(outbox.c.id)
            .where(steps.belongs_to(outbox, partition))
            .where(~exists().where(pending.c.id == outbox.c.id))
            .order_by(outbox.c.id.desc())
            .limit(1)
        )
        rows = (await self._database.run(published)).rows
        return int(rows[0]["id"]) if rows else 0

    async def _raise_incarnation(self, partition: Partition, strangers: int, since: int) -> bool:
        """Raise the incarnation above the strangers', for rows beyond `since`.

        Strangers of an earlier incarnation than the current change nothing: that incarnation has
        ended.
        """
        stream = steps.belongs_to(streams, partition)
        values = {
            "incarnation": strangers + 1,
            "since": since,
            "former": streams.c.incarnation,
        }
        raised = update(streams).where(stream, streams.c.incarnation <= strangers).values(values)
        return (await self._database.run(raised)).rowcount == 1
