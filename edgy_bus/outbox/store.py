"""What the outbox tables are asked and told, each question one statement or one transaction.

The relay's safety rests on two rules kept here: a partition's head and its pending rows are read in one step, and every change of state
compares the head with the one that the caller read (compare-and-set), changing nothing if it has moved.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Executable,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from edgy_bus import telemetry
from edgy_bus.brokers.base import EntryId, Landmark, StreamHead
from edgy_bus.codec import loads, numbering
from edgy_bus.database import Database, Row
from edgy_bus.events import Partition
from edgy_bus.outbox import ledger, statements
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.table import chunks, groups, metadata, outbox, pending, streams
from edgy_bus.telemetry import catalogue

_INSERT = insert(outbox)
_RELABEL = (
    update(outbox)
    .where(outbox.c.id == bindparam("which"), outbox.c.id.in_(select(pending.c.id)))
    .values(label=bindparam("new"))
)
_CHUNKS_AT_ONCE = 20
_PRUNED_AT_ONCE = 5_000


class PendingRow(NamedTuple):
    """An outbox row that is not in its stream yet."""

    id: int
    event_id: str
    signal: str
    subject: str | None
    time: str
    traceparent: str | None
    data: str


class Incarnations(NamedTuple):
    """Which incarnation of its database an event belongs to, by its id: those up to `since` to the former one."""

    newest: int = 1
    since: int = 0
    former: int = 1

    def of(self, number: int) -> int:
        return self.newest if number > self.since else self.former


@dataclass(slots=True)
class Pending:
    """What is to be appended to a stream next, and where the stream stands; None for one that has no head yet."""

    head: StreamHead | None
    incarnations: Incarnations
    rows: list[PendingRow] = field(default_factory=list)


class Chunk(NamedTuple):
    """Rows that were appended to a stream which stood at `old` and stands at `new`."""

    partition: Partition
    old: StreamHead
    new: StreamHead
    placed: Placed


class Recognised(NamedTuple):
    """What the outbox knows of some entries of a stream.

    `strangers`: the greatest incarnation among events that this database says it never had, though it gives out ids like theirs;
    0 without any. They tell that the database is an earlier state of the one that published them.
    """

    placed: Placed
    strangers: int


class Repair(NamedTuple):
    """Whether the database now believes the stream, and whether it turned out to be an earlier state of itself."""

    done: bool
    restored: bool


class OutboxStore:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._dialect = database.dialect.name

    async def prepare(self) -> None:
        """Create the tables where they are missing, and tell about settings with which the database may lose what it has confirmed."""
        await self.database.create_tables(metadata)
        if self._dialect == statements.POSTGRESQL:
            [settings] = (await self.database.run(statements.DURABILITY)).rows
            if loose := [name for name, value in settings.items() if value == "off"]:
                telemetry.emit(catalogue.OutboxNotDurable(off=", ".join(loose)))

    async def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write events; the caller's transaction decides whether they ever happened."""
        if self._dialect == statements.POSTGRESQL:
            many = len(rows) > 1
            given = (
                {name: [row[name] for row in rows] for name in statements.WRITTEN}
                if many
                else rows[0]
            )
            await self.database.run(statements.appending(many=many), given)
            return
        async with self.database.transaction():
            if len(rows) == 1:
                await self.database.run(_INSERT, rows[0])
            else:
                await self.database.run_many(_INSERT, rows)
            await self.database.run(statements.LAST_PENDING, {"count": len(rows)})

    async def heads(self) -> dict[Partition, StreamHead]:
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
                        model=partition.model,
                        label=partition.name,
                        epoch="",
                        head_ms=0,
                        head_seq=0,
                        head_event="",
                    )
                )

    async def pending(self, limit: int) -> dict[Partition, Pending]:
        """The oldest pending rows, in the order of their ids, by partition, each with the head of its stream.

        One statement, so that both are of the same moment: a head that is older than the rows may be where a rolled back stream
        stands now, and they do not come next there.
        """
        rows = await self.database.read(statements.reading(self._dialect), {"limit": limit})
        heads: dict[tuple[str, str], Pending] = {}
        events: dict[tuple[str, str], list[PendingRow]] = {}
        orphans: list[
            int
        ] = []  # somebody has deleted their events: they would fill the page for ever
        for row in rows:
            place = (row[0], row[1])
            if row[2] is None:
                heads[place] = _pending(row)
            elif row[0] is None:
                orphans.append(row[2])
            elif place in events:
                events[place].append(PendingRow._make(row[2:]))
            else:
                events[place] = [PendingRow._make(row[2:])]
        await self._take_pending(orphans)
        found: dict[Partition, Pending] = {}
        for place, one in events.items():
            found[Partition(*place)] = head = heads.get(place) or Pending(None, Incarnations())
            head.rows = sorted(one)
        return found

    async def relabel(self, labels: Mapping[int, str]) -> None:
        """Give pending rows (outbox id to label) another partition of their model."""
        rows = [{"which": which, "new": label} for which, label in labels.items()]
        await self.database.run_many(_RELABEL, rows)

    async def mark(self, marked: Sequence[Chunk]) -> list[bool]:
        """The rows of these chunks, each of another stream, are at their entries; False for one whose stream's head was not the old one."""
        if self._dialect == statements.POSTGRESQL:
            found = (await self.database.run(statements.marking(), _arrays_of(marked))).rows
            moved = {row["number"] for row in found}
            return [number in moved for number in range(len(marked))]
        async with self.database.transaction():
            return [await self._mark(one) for one in marked]

    async def _mark(self, one: Chunk) -> bool:
        if not await self._move_head(one.partition, one.old, one.new):
            return False
        await self._take_pending(one.placed.ids)
        await self._keep(one.partition, one.placed)
        return True

    async def recognise(self, landmarks: Sequence[Landmark]) -> Recognised:
        """Which rows of the outbox these entries of a stream hold, by their ids: the events of a row never change.

        What was pruned is older than the oldest row, so that a younger event without a row is a stranger.
        """
        numbers = [numbering(mark.header) for mark in landmarks]
        sequences = [one.sequence for one in numbers if one.sequence is not None]
        rows = await self._among(statements.known(self._dialect), sequences)
        known = {row["id"]: row["event_id"] for row in rows}
        oldest = (await self.database.run(select(func.min(outbox.c.id).label("id")))).rows[0][
            "id"
        ] or 0
        ids: list[int] = []
        entries: list[EntryId] = []
        strangers = 0
        for mark, (sequence, incarnation) in zip(landmarks, numbers, strict=True):
            if sequence is None:
                continue
            if known.get(sequence) == mark.event_id:
                ids.append(sequence)
                entries.append(mark.entry)
            elif sequence >= oldest:
                strangers = max(strangers, incarnation)
        return Recognised(Placed(ids, entries), strangers)

    async def resynchronise(
        self,
        partition: Partition,
        old: StreamHead,
        new: StreamHead,
        found: Sequence[Placed],
        strangers: int = 0,
    ) -> Repair:
        """Believe the stream, which stands at `new`: what was found in it is published. If its epoch is another, what was published and is not
        there is pending again, unless every group has finished it. Nothing is changed if the head was not `old`.

        With `strangers`, what is pending and was not found belongs to an incarnation above theirs.
        """
        async with self.database.transaction():
            if not await self._move_head(partition, old, new):
                return Repair(done=False, restored=False)
            published = await self._newest_published(partition) if strangers else 0
            if new.epoch != old.epoch:
                await self._begin_anew(partition)
            for placed in found:
                ids = await self._take_pending(placed.ids)
                await self._keep(partition, ledger.only(placed, ids))
                published = max([published, *ids])
            restored = bool(strangers) and await self._raise_incarnation(
                partition, strangers, published
            )
        return Repair(done=True, restored=restored)

    async def confirm(self, partition: Partition, head: StreamHead, below: EntryId) -> bool:
        """Every group has finished what lies below; False, and nothing changed, if the head is not `head` any more.

        What was confirmed before stays so: a group that begins anew, or was rolled back, has finished it all the same.
        """
        ms, seq = streams.c.confirmed_ms, streams.c.confirmed_seq
        further = or_(ms < below.ms, and_(ms == below.ms, seq < below.seq))
        values = {
            "confirmed_ms": case((further, below.ms), else_=ms),
            "confirmed_seq": case((further, below.seq), else_=seq),
        }
        async with self.database.transaction():
            result = await self.database.run(
                update(streams).where(_stands_at(partition, head)).values(values)
            )
            if result.rowcount == 1:
                await self.database.run(
                    delete(chunks).where(_is(chunks, partition), _ends_below(below))
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
        """Delete published rows that are older (milliseconds since 1970), oldest first; answers how many.

        It stops at the first row that is younger or pending, and at the newest of all: so what is gone is older than what is there, and the
        ids that were given out stay known.
        """
        await self.database.run(delete(chunks).where(chunks.c.created < created_before))
        pruned = 0
        while True:
            end = await self._end_of_old(created_before)
            if end is None:
                return pruned
            # What commits only now, with a smaller id than others have, is young, and pending.
            waiting = select(pending.c.id).where(pending.c.id < end)
            old = (
                outbox.c.id < end,
                outbox.c.created < created_before,
                outbox.c.id.not_in(waiting),
            )
            gone = (await self.database.run(delete(outbox).where(*old))).rowcount
            if not gone:
                return pruned
            pruned += gone

    async def _end_of_old(self, created_before: int) -> int | None:
        """The id below which rows may go, some thousand of them at a time; None if there are none."""
        page = select(outbox.c.id, outbox.c.created).order_by(outbox.c.id).limit(_PRUNED_AT_ONCE)
        rows = (await self.database.run(page)).rows
        if not rows or rows[0]["created"] >= created_before:
            return None
        stays = (await self.database.run(select(func.min(pending.c.id).label("id")))).rows[0]["id"]
        young: int = next(
            (row["id"] for row in rows if row["created"] >= created_before), rows[-1]["id"]
        )
        return young if stays is None else min(stays, young)

    async def count_pending(self) -> int:
        return int(
            (await self.database.run(select(func.count(pending.c.id).label("n")))).rows[0]["n"]
        )

    async def count_all(self) -> int:
        return int(
            (await self.database.run(select(func.count(outbox.c.id).label("n")))).rows[0]["n"]
        )

    async def _move_head(self, partition: Partition, old: StreamHead, new: StreamHead) -> bool:
        result = await self.database.run(
            update(streams)
            .where(_stands_at(partition, old))
            .values(
                epoch=new.epoch,
                head_ms=new.entry.ms,
                head_seq=new.entry.seq,
                head_event=new.event_id,
            )
        )
        return result.rowcount == 1

    async def _begin_anew(self, partition: Partition) -> None:
        """Everything that is not confirmed is pending again."""
        mine = _is(streams, partition)
        row = (await self.database.run(select(streams).where(mine))).rows[0]
        confirmed = EntryId(row["confirmed_ms"], row["confirmed_seq"])
        ordered = (
            select(chunks)
            .where(_is(chunks, partition))
            .order_by(chunks.c.last_ms, chunks.c.last_seq)
        )
        while rows := (await self.database.run(ordered.limit(_CHUNKS_AT_ONCE))).rows:
            for one in rows:
                again = ledger.since(ledger.decode(one["events"]), confirmed)
                await self._among(statements.sending_again(self._dialect), again)
            last = EntryId(rows[-1]["last_ms"], rows[-1]["last_seq"])
            await self.database.run(
                delete(chunks).where(_is(chunks, partition), or_(_ends_below(last), _ends_at(last)))
            )
        # The ledger knows it now. What the stream appends from here on may have smaller numbers than it had.
        await self.database.run(update(streams).where(mine).values(confirmed_ms=0, confirmed_seq=0))

    async def _newest_published(self, partition: Partition) -> int:
        """The greatest id of a row that is not pending; 0 if there is none."""
        mine = select(outbox.c.id).where(
            _is(outbox, partition), ~exists().where(pending.c.id == outbox.c.id)
        )
        rows = (await self.database.run(mine.order_by(outbox.c.id.desc()).limit(1))).rows
        return int(rows[0]["id"]) if rows else 0

    async def _raise_incarnation(self, partition: Partition, strangers: int, since: int) -> bool:
        """Above that of the strangers, for rows beyond `since`. Earlier strangers are of an incarnation that has ended already."""
        result = await self.database.run(
            update(streams)
            .where(_is(streams, partition), streams.c.incarnation <= strangers)
            .values(incarnation=strangers + 1, since=since, former=streams.c.incarnation)
        )
        return result.rowcount == 1

    async def _among(self, statement: Executable, ids: Sequence[int]) -> list[Row]:
        if not ids:
            return []
        return (await self.database.run(statement, statements.ids_for(self._dialect, ids))).rows

    async def _take_pending(self, ids: Sequence[int]) -> list[int]:
        """Which of these are pending; they are not any more."""
        return [row["id"] for row in await self._among(statements.taking(self._dialect), ids)]

    async def _keep(self, partition: Partition, placed: Placed) -> None:
        if not placed.ids:
            return
        last = placed.entries[-1]
        await self.database.run(
            insert(chunks).values(
                model=partition.model,
                label=partition.name,
                last_ms=last.ms,
                last_seq=last.seq,
                events=ledger.encode(placed),
                created=_now(),
            )
        )


def _arrays_of(marked: Sequence[Chunk]) -> dict[str, list[Any]]:
    """The parameters of `statements.marking`."""
    rows = [
        (
            number,
            *_place_of(one.partition),
            *_head_of(one.old),
            *_head_of(one.new),
            ledger.encode(one.placed),
            _now(),
        )
        for number, one in enumerate(marked)
    ]
    arrays: dict[str, list[Any]] = dict(
        zip(statements.MARKED, map(list, zip(*rows, strict=True)), strict=True)
    )
    arrays["id"] = [number for one in marked for number in one.placed.ids]
    arrays["chunk"] = [place for place, one in enumerate(marked) for _ in one.placed.ids]
    return arrays


def _place_of(partition: Partition) -> tuple[str, str]:
    return partition.model, partition.name


def _head_of(head: StreamHead) -> tuple[str, int, int, str]:
    return head.epoch, head.entry.ms, head.entry.seq, head.event_id


def _pending(row: Sequence[Any]) -> Pending:
    """Of the row of a head."""
    _, _, _, epoch, _, event_id, *_, numbers = row
    ms, seq, *incarnations = loads(numbers)
    return Pending(StreamHead(epoch, EntryId(ms, seq), event_id), Incarnations(*incarnations))


def _now() -> int:
    return time.time_ns() // 1_000_000


def _is(table: Any, partition: Partition) -> ColumnElement[bool]:
    return and_(table.c.model == partition.model, table.c.label == partition.name)


def _head(row: Row) -> StreamHead:
    return StreamHead(row["epoch"], EntryId(row["head_ms"], row["head_seq"]), row["head_event"])


def _stands_at(partition: Partition, head: StreamHead) -> ColumnElement[bool]:
    return and_(
        _is(streams, partition),
        streams.c.epoch == head.epoch,
        streams.c.head_ms == head.entry.ms,
        streams.c.head_seq == head.entry.seq,
        streams.c.head_event == head.event_id,
    )


def _ends_below(entry: EntryId) -> ColumnElement[bool]:
    ms, seq = chunks.c.last_ms, chunks.c.last_seq
    return or_(ms < entry.ms, and_(ms == entry.ms, seq < entry.seq))


def _ends_at(entry: EntryId) -> ColumnElement[bool]:
    return and_(chunks.c.last_ms == entry.ms, chunks.c.last_seq == entry.seq)
