"""Finds events in the outbox by what no index knows: the event's id, its cause, its row.

Every question is bounded: it looks at pages of neighbouring rows, and at a limited number of pages.
Only reads.
"""

from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    and_,
    bindparam,
    func,
    or_,
    select,
)

from edgy_bus.brokers.base import START, EntryId
from edgy_bus.database import Database, Row
from edgy_bus.events import Partition
from edgy_bus.outbox import ledger
from edgy_bus.outbox.store import steps
from edgy_bus.outbox.table import chunks, outbox, pending

PAGE = 20_000
"""Rows that a statement looks at."""

EVENT_PAGES = 20
"""Pages around the time of an event that are looked at for the event."""

CAUSED_PAGES = 10
"""Pages behind an event that are looked at for events that it caused."""

ROW_PAGES = 20
"""Newest pages that are looked at for the events of a row."""

_CHUNKS = 100
_CHUNK_PAGES = 20

_MARGIN = 60_000
"""Milliseconds by which the clock of the database may have been set back meanwhile."""

_FIRST = bindparam("first", type_=BigInteger())
_LAST = bindparam("last", type_=BigInteger())
_AT = bindparam("at", type_=BigInteger())
_SKIP = bindparam("skip", type_=Integer())

_ID = outbox.c.id

_OLDEST, _NEWEST = func.min(_ID).label("oldest"), func.max(_ID).label("newest")
_ENDS = select(_OLDEST, _NEWEST)
_AT_OR_BEHIND = select(_ID, outbox.c.created).where(_ID >= _AT).order_by(_ID).limit(1)
_UP = select(_ID).where(_ID >= _AT).order_by(_ID).limit(1).offset(_SKIP)
_DOWN = select(_ID).where(_ID <= _AT).order_by(_ID.desc()).limit(1).offset(_SKIP)

# Without the data: a page would be as large as the events of its rows.
_COLUMNS = [column for column in outbox.c if column.name != "data"]
_IS_PENDING = select(pending.c.id).where(pending.c.id == _ID).exists()
_EVENTS = select(*_COLUMNS, _IS_PENDING.label("is_pending")).where(_ID.between(_FIRST, _LAST))


class FoundRow(NamedTuple):
    """A row of the outbox without the data of its event.

    Attributes:
        number: the id of the row, which is the event's sequence.
        written: when the row was written, by the clock of the database; its transaction committed
            later.
        is_pending: whether the event is not in its stream yet, as far as the database knows.
    """

    number: int
    partition: Partition
    event_id: str
    signal: str
    subject: str | None
    time: str
    traceparent: str | None
    source: str | None
    to: str | None
    causation: str | None
    context: str | None
    written: datetime
    is_pending: bool


class FoundRows(NamedTuple):
    """Some rows of the outbox, oldest first, and whether rows may be missing.

    Attributes:
        is_complete: whether every row that the outbox has was looked at.
    """

    rows: list[FoundRow]
    is_complete: bool


class Placing(NamedTuple):
    """The entries of some events, and whether all events that are not confirmed are among them."""

    entries: dict[int, EntryId]
    is_complete: bool


_Range = tuple[int, int]
"""The first and the last id of a page."""


class SearchStore:
    """The questions of an operator who looks for an event."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, event_id: str, ms: int | None) -> FoundRows:
        """Return the row of an event, if there is such a row.

        Args:
            event_id: the event.
            ms: about when the event was written, in milliseconds since 1970; None: the search
                begins with the newest row.
        """
        ends = await self.ends()
        if ends is None:
            return FoundRows([], is_complete=True)
        centre = ends[1] + 1 if ms is None else await self._first_since(ms, ends)
        up = self._pages_up(centre, ends[1])
        down = self._pages_down(centre - 1)
        looked_at = 0
        # The row is nearly always in the first page. Further pages are for clocks that differ.
        async for page in _by_turns(up, down):
            if looked_at == EVENT_PAGES:
                return FoundRows([], is_complete=False)
            looked_at += 1
            if rows := await self._rows(page, outbox.c.event_id == event_id, 1):
                return FoundRows(rows, is_complete=True)
        return FoundRows([], is_complete=True)

    async def caused_by(self, event_id: str, ms: int | None, limit: int) -> FoundRows:
        """Return the first rows that an event caused, at most `limit`.

        Args:
            event_id: the event.
            ms: a time before the first of these rows, in milliseconds since 1970; None: unknown.
            limit: the most rows.
        """
        ends = await self.ends()
        if ends is None:
            return FoundRows([], is_complete=True)
        first = ends[0] if ms is None else await self._first_since(ms, ends)
        pages = self._pages_up(first, ends[1])
        return await self._collect(pages, CAUSED_PAGES, outbox.c.causation == event_id, limit)

    async def of_row(self, model: str, subject: str, limit: int) -> FoundRows:
        """Return the newest events of a row, at most `limit`; complete if there are no older."""
        ends = await self.ends()
        if ends is None:
            return FoundRows([], is_complete=True)
        of_row = and_(outbox.c.model == model, outbox.c.subject == subject)
        pages = self._pages_down(ends[1])
        newest = await self._collect(pages, ROW_PAGES, of_row, limit, newest_first=True)
        return FoundRows(newest.rows[::-1], newest.is_complete)

    async def ends(self) -> _Range | None:
        """Return the id of the oldest and of the newest row; None without rows."""
        (row,) = (await self._database.run(_ENDS)).rows
        return None if row["oldest"] is None else (row["oldest"], row["newest"])

    async def first_since(self, moment: datetime) -> int:
        """Return the first id that was written at a moment or later; 1 without rows."""
        ends = await self.ends()
        return 1 if ends is None else await self._first_since(int(moment.timestamp() * 1000), ends)

    async def data(self, number: int) -> str | None:
        """Return the data of an event by the id of its row."""
        statement = select(outbox.c.data).where(outbox.c.id == number)
        rows = (await self._database.run(statement)).rows
        return rows[0]["data"] if rows else None

    async def placed(
        self, partition: Partition, numbers: Collection[int], written: datetime
    ) -> Placing:
        """Return at which entries of a stream events stand that are not confirmed.

        Args:
            partition: the stream.
            numbers: the ids of rows.
            written: a time before these rows were written, by the clock of the database.
        """
        since = int(written.timestamp() * 1000) - _MARGIN
        after, entries = START, dict[int, EntryId]()
        for _ in range(_CHUNK_PAGES):
            statement = (
                select(chunks.c.last_ms, chunks.c.last_seq, chunks.c.events)
                .where(steps.belongs_to(chunks, partition), _lies_behind(after))
                .where(chunks.c.created >= since)
                .order_by(chunks.c.last_ms, chunks.c.last_seq)
                .limit(_CHUNKS)
            )
            rows = (await self._database.run(statement)).rows
            for row in rows:
                placed = ledger.only(ledger.decode(row["events"]), numbers)
                entries.update(zip(placed.ids, placed.entries, strict=True))
            if len(rows) < _CHUNKS or len(entries) == len(numbers):
                return Placing(entries, is_complete=True)
            after = EntryId(rows[-1]["last_ms"], rows[-1]["last_seq"])
        return Placing(entries, is_complete=False)

    async def _collect(
        self,
        pages: AsyncIterator[_Range],
        most_pages: int,
        condition: ColumnElement[bool],
        limit: int,
        *,
        newest_first: bool = False,
    ) -> FoundRows:
        """Return the first rows of some pages that match, in the order of the search."""
        rows: list[FoundRow] = []
        looked_at = 0
        async for page in pages:
            if looked_at == most_pages:
                return FoundRows(rows, is_complete=False)
            looked_at += 1
            # A row more than wanted tells that there are more.
            room = limit + 1 - len(rows)
            rows += await self._rows(page, condition, room, newest_first=newest_first)
            if len(rows) > limit:
                return FoundRows(rows[:limit], is_complete=False)
        return FoundRows(rows, is_complete=True)

    async def _rows(
        self,
        page: _Range,
        condition: ColumnElement[bool],
        limit: int,
        *,
        newest_first: bool = False,
    ) -> list[FoundRow]:
        order = _ID.desc() if newest_first else _ID
        statement = _EVENTS.where(condition).order_by(order).limit(limit)
        rows = await self._database.run(statement, {"first": page[0], "last": page[1]})
        return [_found(row) for row in rows.rows]

    async def _first_since(self, ms: int, ends: _Range) -> int:
        """Return the first id that was written at `ms` or later: ids rise with time."""
        low, high = ends[0], ends[1] + 1
        # No index on the time: halving the ids asks for less than 64 rows by their primary key.
        while low < high:
            middle = (low + high) // 2
            rows = (await self._database.run(_AT_OR_BEHIND, {"at": middle})).rows
            if not rows or rows[0]["created"] >= ms:
                high = middle
            else:
                low = rows[0]["id"] + 1
        return low

    async def _pages_up(self, first: int, newest: int) -> AsyncIterator[_Range]:
        while first <= newest:
            last = await self._step(_UP, first, newest)
            yield first, last
            first = last + 1

    async def _pages_down(self, last: int) -> AsyncIterator[_Range]:
        while last > 0:
            first = await self._step(_DOWN, last, 0)
            yield first, last
            last = first - 1

    async def _step(self, statement: Executable, at: int, end: int) -> int:
        """Return the id at the other side of a page; `end` if fewer rows are left."""
        # By rows, and not by ids: a sequence may have gaps of any size.
        rows = (await self._database.run(statement, {"at": at, "skip": PAGE - 1})).rows
        return rows[0]["id"] if rows else end


def _lies_behind(entry: EntryId) -> ColumnElement[bool]:
    ms, seq = chunks.c.last_ms, chunks.c.last_seq
    return or_(ms > entry.ms, and_(ms == entry.ms, seq > entry.seq))


async def _by_turns(*iterators: AsyncIterator[_Range]) -> AsyncIterator[_Range]:
    """Yield from each iterator in turn, until all have ended."""
    waiting = list(iterators)
    while waiting:
        for iterator in list(waiting):
            try:
                yield await anext(iterator)
            except StopAsyncIteration:
                waiting.remove(iterator)


def _found(row: Row) -> FoundRow:
    return FoundRow(
        number=row["id"],
        partition=Partition(row["model"], row["label"]),
        event_id=row["event_id"],
        signal=row["signal"],
        subject=row["subject"],
        time=row["time"],
        traceparent=row["traceparent"],
        source=row["source"],
        to=row["to"],
        causation=row["causation"],
        context=row["context"],
        written=datetime.fromtimestamp(row["created"] / 1000, UTC),
        is_pending=bool(row["is_pending"]),
    )
