"""Model the databases of the publisher and of a receiver.

The model has transactions, row locks, a sequence, and the visibility of rows. A method is a single
step of the database. The caller can be killed during the delays before and after the step, and the
call can fail before or after the step takes effect.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from edgy_bus.brokers.base import START, EntryId, Landmark, StreamHead
from edgy_bus.codec import numbering
from edgy_bus.database.backends.base import Result
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import (
    Chunk,
    Incarnations,
    PageSize,
    Pending,
    PendingRow,
    Recognised,
    Repair,
    Standing,
    newest_of,
    strangers_of,
)
from edgy_bus.runtime.inbox import Position
from tests.simulation.loop import Process

PENDING, PUBLISHED, CONFIRMED = 0, 1, 2
Pause = Callable[[Process | None, str], Awaitable[None]]
"""Awaited before and after every step: a delay, or an error."""


@dataclass
class Row:
    """An outbox row that has been committed."""

    id: int
    partition: Partition
    event_id: str
    subject: str
    data: str
    created: float
    status: int = PENDING
    entry: EntryId | None = None


@dataclass
class Stream:
    head: StreamHead = field(default_factory=StreamHead)
    confirmed: EntryId = START
    incarnations: Incarnations = field(default_factory=Incarnations)


@dataclass
class Locks:
    """Locks of rows, each held by a transaction until it ends."""

    held: dict[Any, Any] = field(default_factory=dict)

    async def take(self, key: Any, holder: Any) -> None:
        while not self.is_free(key, holder):
            await asyncio.sleep(0.02)  # the holder may die without a word
        self.held[key] = holder

    def is_free(self, key: Any, holder: Any) -> bool:
        """Return whether nobody else has the lock of a row."""
        return self.held.get(key, holder) is holder

    def drop(self, holder: Any) -> None:
        for key in [key for key, one in self.held.items() if one is holder]:
            del self.held[key]


class Transaction:
    """Of a producer: rows that become visible together."""

    def __init__(self, database: "Database", process: Process | None) -> None:
        self.database = database
        self.process = process
        self.rows: list[Row] = []


class Database:
    """Model the database of the publisher."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.committed: dict[str, list[int]] = {}
        """The truth: the sequence numbers of every row's events, in the order of the commits."""
        self.events: dict[str, tuple[str, int]] = {}
        """Event id to subject and sequence."""
        self.streams: dict[Partition, Stream] = {}
        self.groups: dict[str, set[str]] = {}
        self.locks = Locks()
        self.open: list[Transaction] = []
        self._next = 0

    def begin(self, process: Process | None) -> Transaction:
        one = Transaction(self, process)
        self.open.append(one)
        return one

    def next_id(self) -> int:
        self._next += 1
        return self._next

    def commit(self, one: Transaction) -> None:
        for row in one.rows:
            self.rows[row.id] = row
            self.committed.setdefault(row.subject, []).append(row.id)
            self.events[row.event_id] = (row.subject, row.id)
        self.end(one)

    def end(self, one: Transaction) -> None:
        self.locks.drop(one)
        self.open.remove(one)

    def died(self, process: Process) -> None:
        """The database rolls back what a process had open."""
        for one in [one for one in self.open if one.process is process]:
            self.end(one)


class Store:
    """Model `OutboxStore` for the relay of a single process."""

    def __init__(self, database: Database, process: Process | None, pause: Pause) -> None:
        self._db = database
        self._process = process
        self._pause = pause
        self.database = SimpleNamespace(listen=_listen)
        self.service, self.id = "accounts", "outbox"
        self.repairs = self.tidying = self

    async def _step(self, name: str, step: Callable[[], Any]) -> Any:
        await self._pause(self._process, f"before {name}")
        answer = step()
        await self._pause(self._process, f"after {name}")
        return answer

    async def streams(self) -> dict[Partition, Standing]:
        found: dict[Partition, Standing] = await self._step(
            "streams",
            lambda: {
                partition: Standing(one.head, one.confirmed)
                for partition, one in self._db.streams.items()
            },
        )
        return found

    async def heads(self) -> dict[Partition, StreamHead]:
        found: dict[Partition, StreamHead] = await self._step(
            "heads", lambda: {partition: one.head for partition, one in self._db.streams.items()}
        )
        return found

    async def add_stream(self, partition: Partition) -> None:
        await self._step("add_stream", lambda: self._db.streams.setdefault(partition, Stream()))

    async def standings(self, partitions: Collection[Partition]) -> dict[Partition, Standing]:
        def step() -> dict[Partition, Standing]:
            streams = {partition: self._db.streams[partition] for partition in partitions}
            return {
                partition: Standing(stream.head, stream.confirmed)
                for partition, stream in streams.items()
            }

        standings: dict[Partition, Standing] = await self._step("standings", step)
        return standings

    async def pending(
        self, size: PageSize, avoiding: Collection[Partition] = ()
    ) -> dict[Partition, Pending]:
        assert not avoiding, "no stream of the model fails alone"
        page: dict[Partition, Pending] = await self._step("pending", lambda: self._pending(size))
        return page

    def _pending(self, size: PageSize) -> dict[Partition, Pending]:
        found: dict[Partition, Pending] = {}
        taken = 0
        for row in self.pending_rows()[: size.rows]:
            if taken >= size.bytes:
                break
            taken += len(row.data)
            stream = self._db.streams.get(row.partition)
            known = (
                Pending(stream.head, stream.incarnations)
                if stream
                else Pending(None, Incarnations())
            )
            one = found.setdefault(row.partition, known)
            time = "2026-01-01T00:00:00+00:00"
            one.rows.append(
                PendingRow(row.id, row.event_id, "post_save", row.subject, time, None, row.data)
            )
        return found

    def pending_rows(self) -> list[Row]:
        return [replace(row) for _, row in sorted(self._db.rows.items()) if row.status == PENDING]

    async def repartition(self, names: Mapping[int, str]) -> None:
        raise AssertionError(f"every row is in its partition here: {names}")

    async def mark(self, marked: Sequence[Chunk]) -> list[bool]:
        done: list[bool] = await self._step("mark", lambda: [self._mark(one) for one in marked])
        return done

    def _mark(self, one: Chunk) -> bool:
        if not self._move(one.partition, one.old, one.new):
            return False
        for number, entry in zip(one.placed.ids, one.placed.entries, strict=True):
            self._place(self._db.rows.get(number), entry)
        return True

    async def recognise(self, landmarks: Sequence[Landmark]) -> Recognised:
        found: Recognised = await self._step("recognise", lambda: self._recognise(landmarks))
        return found

    def _recognise(self, landmarks: Sequence[Landmark]) -> Recognised:
        ids, entries, newest, strangers = [], [], {}, 0
        for mark in landmarks:
            number = numbering(mark.header)
            row = self._db.rows.get(number.sequence or 0)
            if row is not None and row.event_id == mark.event_id:
                ids.append(row.id)
                entries.append(mark.entry)
                newest[row.subject] = max(row.id, newest.get(row.subject, 0))
            else:
                strangers = max(strangers, number.incarnation)
        return Recognised(Placed(ids, entries), strangers, newest)

    async def resynchronise(
        self,
        partition: Partition,
        old: StreamHead,
        new: StreamHead,
        found: Sequence[Recognised],
    ) -> Repair:
        def step() -> Repair:
            done = self._resynchronise(partition, old, new, found)
            return Repair(done, restored=done and strangers_of(found) > 0)

        repair: Repair = await self._step("resynchronise", step)
        return repair

    def _resynchronise(
        self, partition: Partition, old: StreamHead, new: StreamHead, found: Sequence[Recognised]
    ) -> bool:
        if not self._move(partition, old, new):
            return False
        if new.epoch != old.epoch:
            self._begin_anew(partition)
            self._send_again_behind(partition, newest_of(found))
        for page in found:
            for number, entry in zip(page.placed.ids, page.placed.entries, strict=True):
                self._place(self._db.rows.get(number), entry)
        return True

    def _begin_anew(self, partition: Partition) -> None:
        stream = self._db.streams[partition]
        for row in self._published(partition):
            if row.entry is not None and row.entry < stream.confirmed:
                row.status = CONFIRMED
            else:
                row.status, row.entry = PENDING, None
        stream.confirmed = START

    def _send_again_behind(self, partition: Partition, newest: Mapping[str, int]) -> None:
        for row in self._db.rows.values():
            if row.partition == partition and row.id > newest.get(row.subject, row.id):
                row.status, row.entry = PENDING, None

    async def confirm(self, partition: Partition, head: StreamHead, below: EntryId) -> bool:
        def step() -> bool:
            stream = self._db.streams.get(partition)
            if stream is None or stream.head != head:
                return False
            stream.confirmed = max(stream.confirmed, below)
            return True

        return bool(await self._step("confirm", step))

    async def groups(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = await self._step(
            "groups", lambda: {model: set(names) for model, names in self._db.groups.items()}
        )
        return found

    async def add_group(self, model: str, name: str) -> None:
        await self._step("add_group", lambda: self._db.groups.setdefault(model, set()).add(name))

    async def prune(self, retention: float) -> int:
        def step() -> int:
            # The database's own clock, which no process's clock moves.
            created_before = asyncio.get_running_loop().time() - retention
            gone = [
                row.id
                for row in self._db.rows.values()
                if row.status != PENDING and row.created < created_before
            ]
            for number in gone:
                del self._db.rows[number]
            return len(gone)

        return int(await self._step("prune", step))

    def _published(self, partition: Partition) -> list[Row]:
        return [
            row
            for row in self._db.rows.values()
            if row.partition == partition and row.status == PUBLISHED
        ]

    def _move(self, partition: Partition, old: StreamHead, new: StreamHead) -> bool:
        stream = self._db.streams.get(partition)
        if stream is None or stream.head != old:
            return False
        stream.head = new
        return True

    def _place(self, row: Row | None, entry: EntryId) -> None:
        if row is not None and row.status != CONFIRMED:
            row.status, row.entry = PUBLISHED, entry


@asynccontextmanager
async def _listen(channel: str, callback: Callable[[], None]) -> AsyncIterator[None]:
    del channel, callback
    yield


@dataclass(frozen=True)
class Effect:
    """A receiver's write that was committed."""

    subject: str
    sequence: int
    event_id: str


class InboxTables:
    """Model a receiver's database: the inbox, and the effects in the order of the commits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.positions: dict[tuple[str, ...], tuple[int, int]] = {}
        self.handled: dict[tuple[str, ...], int] = {}
        """When each position has moved, in milliseconds."""
        self.effects: dict[str, list[Effect]] = {}
        self.locks = Locks()
        self.open: dict[Any, Process] = {}

    def now(self) -> int:
        """Return the time of the database, in milliseconds since 1970, as the server of Redis."""
        return int((1_000_000.0 + self._clock()) * 1000)

    def died(self, process: Process) -> None:
        for one in [one for one, owner in self.open.items() if owner is process]:
            self.locks.drop(one)
            del self.open[one]


class Positions:
    """What a pruner in one process works with: models `runtime.inbox.Positions`."""

    database_id = "inbox"

    def __init__(self, tables: InboxTables, process: Process, pause: Pause) -> None:
        self.tables = tables
        self._process = process
        self._pause = pause

    async def page(self, after: Position | None, limit: int) -> tuple[int, list[Position]]:
        tables = self.tables
        await self._pause(self._process, "before page")
        now = tables.now()
        keys = [key for key in sorted(tables.handled) if after is None or key > after[:4]]
        page = [Position(*key, tables.handled[key]) for key in keys[:limit]]
        await self._pause(self._process, "after page")
        return now, page

    async def forget(self, positions: Sequence[Position]) -> int:
        task, count = asyncio.current_task(), 0
        await self._pause(self._process, "before forget")
        self.tables.open[task] = self._process
        try:
            for position in positions:
                # SKIP LOCKED: a receiver moves this position at the moment.
                if self.tables.locks.is_free(position[:4], task):
                    await self.tables.locks.take(position[:4], task)
                    count += self._forget(position)
        finally:
            self.tables.locks.drop(task)
            self.tables.open.pop(task, None)
        await self._pause(self._process, "after forget")
        return count

    def _forget(self, position: Position) -> bool:
        key = position[:4]
        if self.tables.handled.get(key) != position.handled:
            return False
        del self.tables.handled[key], self.tables.positions[key]
        return True


class Inbox:
    """What `inbox=` of a receiver in one process is given."""

    # On SQLite, the receivers of a process take turns.
    dialect = SimpleNamespace(name="postgresql")

    def __init__(self, tables: InboxTables, process: Process, pause: Pause) -> None:
        self.tables = tables
        self._process = process
        self._pause = pause
        self._running: dict[
            Any, tuple[dict[tuple[str, ...], tuple[int, int]], list[tuple[str, Effect]]]
        ] = {}

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        del options
        task = asyncio.current_task()
        moved: dict[tuple[str, ...], tuple[int, int]] = {}
        effects: list[tuple[str, Effect]] = []
        await self._pause(self._process, "before begin")
        # Earlier than the statement that moves the position: the harder case for pruning.
        begun = self.tables.now()
        self._running[task] = (moved, effects)
        self.tables.open[task] = self._process
        try:
            yield
            await self._pause(self._process, "before commit")
            self.tables.positions.update(moved)
            self.tables.handled.update(dict.fromkeys(moved, begun))
            for receiver, effect in effects:
                self.tables.effects.setdefault(receiver, []).append(effect)
        finally:
            self.tables.locks.drop(task)
            self.tables.open.pop(task, None)
            del self._running[task]
        await self._pause(self._process, "after commit")

    async def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Result:
        """The inbox's compare-and-set; the model knows no other statement."""
        del statement
        given = dict(parameters or {})
        key = tuple(str(given[name]) for name in ("receiver", "source", "model", "subject"))
        task = asyncio.current_task()
        await self._pause(self._process, "before inbox")
        await self.tables.locks.take(key, task)
        offered = (given["incarnation"], given["sequence"])
        if self.tables.positions.get(key, (0, 0)) >= offered:
            return Result([], 0)
        self._running[task][0][key] = offered
        return Result([{"sequence": given["sequence"]}], 1)

    def write(self, receiver: str, effect: Effect) -> None:
        """In the transaction of the current task."""
        self._running[asyncio.current_task()][1].append((receiver, effect))
