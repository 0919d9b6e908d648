"""The inbox forgets positions that no event can need any more, and no others."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import insert, select

from edgy_bus.brokers.base import START, DeadLetter, Entry, HeldState, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError
from edgy_bus.events import partition_name, partitions_of
from edgy_bus.runtime import inbox, pruning
from edgy_bus.runtime.inbox import Positions
from edgy_bus.runtime.pruning import Bounds, InboxPruner, cutoff
from tests.support import PARTITION, Told, event, eventually, publish

MODEL = PARTITION.model
DAY = 86_400.0


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    async with Database(sqlite_url) as database:
        await database.create_tables(inbox.metadata)
        yield database


@pytest.fixture
async def broker() -> MemoryBroker:
    broker = MemoryBroker()
    await broker.declare(MODEL, 2)
    return broker


async def remember(
    database: Database, *subjects: str, age: float, receiver: str = "mail/r", model: str = MODEL
) -> None:
    """Write positions that are `age` seconds old."""
    now, _ = await Positions(database).page(None, 1)
    key = {"receiver": receiver, "source": "accounts", "model": model, "incarnation": 1}
    rows = [
        {**key, "subject": subject, "sequence": 1, "handled": now - int(age * 1000)}
        for subject in subjects
    ]
    await database.run_many(insert(inbox.inbox), rows)


async def remembered(database: Database) -> list[str]:
    rows = (await database.run(select(inbox.inbox))).rows
    return sorted(row["subject"] for row in rows)


def pruner(broker: MemoryBroker, database: Database, retention: float = 10 * DAY) -> InboxPruner:
    return InboxPruner(broker, "mail", Positions(database), retention)


async def test_old_positions_are_forgotten_page_by_page(
    broker: MemoryBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_AT_ONCE", 3)
    monkeypatch.setattr(pruning, "_BETWEEN", 0)
    # Rows that are long gone, and events without a row.
    await remember(database, *map(str, range(7)), "event:1", "event:2", age=11 * DAY)
    await remember(database, "young", age=9 * DAY)
    await remember(database, "another's", age=11 * DAY, receiver="mailing/r")
    assert await pruner(broker, database).prune() == 9
    assert await remembered(database) == ["another's", "young"]
    assert await pruner(broker, database).prune() == 0


async def test_positions_outlive_the_oldest_unfinished_entry_by_the_retention(
    database: Database,
) -> None:
    now, _ = await Positions(database).page(None, 1)
    clock = [now / 1000 - 5 * DAY]
    broker = MemoryBroker(lambda: clock[0])
    await publish(broker, event("1", 1))
    clock[0] += 5 * DAY
    await remember(database, "1", "2", age=14 * DAY)
    # The entry was appended five days ago, and may be of an event that is ten days older.
    assert await pruner(broker, database).prune() == 0
    lease = await broker.acquire(PARTITION, "mail", "w", 30)
    assert lease is not None
    [entry] = (await broker.fetch(lease, 1, inherit=False)).entries
    assert await pruner(broker, database).prune() == 0
    await broker.settle(lease, [entry.id])
    assert await pruner(broker, database).prune() == 2


async def test_rows_that_are_held_keep_their_position(
    broker: MemoryBroker, database: Database
) -> None:
    held = next(
        place for place in partitions_of(MODEL, 2) if place.name == partition_name("1", "", 2)
    )
    lease = await broker.acquire(held, "mail", "w", 30)
    assert lease is not None
    await publish(broker, event("1", 1), partition=held)
    [entry] = (await broker.fetch(lease, 1, inherit=False)).entries
    letter = DeadLetter(entry.id, "r", "gave up", 1, entry.fields)
    await broker.park(lease, RowKey("r", "1"), letter, [], begin=True, after=START)
    await broker.settle(lease, [entry.id])
    await remember(database, "1", "2", age=11 * DAY)
    await remember(database, "1", age=11 * DAY, receiver="mail/another")
    assert await pruner(broker, database).prune() == 2
    assert await remembered(database) == ["1"]


async def test_models_that_the_broker_does_not_know_keep_their_positions(
    broker: MemoryBroker, database: Database
) -> None:
    await remember(database, "1", age=11 * DAY)
    await remember(database, "2", age=11 * DAY, model="accounts.Lost")
    assert await pruner(broker, database).prune() == 1
    await broker.erase()
    await remember(database, "1", age=11 * DAY)
    assert await pruner(broker, database).prune() == 0
    assert await remembered(database) == ["1", "2"]


async def test_a_position_that_moves_meanwhile_stays(
    broker: MemoryBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remember(database, "1", "2", age=11 * DAY)
    forget = Positions.forget

    async def late(self: Positions, positions: Sequence[inbox.Position]) -> int:
        moved = inbox.inbox.update().where(inbox.inbox.c.subject == "1")
        await database.run(moved.values(sequence=2, handled=10**15))
        return await forget(self, positions)

    monkeypatch.setattr(Positions, "forget", late)
    assert await pruner(broker, database).prune() == 1, "those that are gone"
    assert await remembered(database) == ["1"]


async def test_one_worker_of_a_group_goes_through_the_inbox(
    broker: MemoryBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = 0

    async def counted(self: InboxPruner) -> int:
        nonlocal passes
        passes += 1
        return 0

    monkeypatch.setattr(InboxPruner, "prune", counted)
    pruners = [pruner(broker, database) for _ in range(5)]
    for each in pruners:
        await each._pass()
    assert passes == 1


async def test_a_pass_that_fails_is_reported_once_and_repeated(
    broker: MemoryBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "interval", lambda retention: 0.01)
    page, failures = Positions.page, [DatabaseError("permission denied")] * 3

    async def failing(self: Positions, *rest: Any) -> Any:
        if failures:
            raise failures.pop()
        return await page(self, *rest)

    monkeypatch.setattr(Positions, "page", failing)
    with Told() as told:
        await remember_directly(database)
        async with pruner(broker, database, retention=1):
            await eventually(lambda: told.of("inbox.pruned"))
    assert told.of("inbox.pruned") == [{"group": "mail", "count": 1}]
    assert len(told.of("inbox.pruning_failed")) == 1


async def remember_directly(database: Database) -> None:
    row = {"receiver": "mail/r", "source": "a", "model": MODEL, "subject": "1"}
    values = {**row, "incarnation": 1, "sequence": 1, "handled": 1}
    await database.run(insert(inbox.inbox).values(values))


@given(
    now=st.integers(0, 10**13),
    oldest=st.none() | st.integers(0, 10**13),
    retention=st.integers(1, 10**6),
    age=st.integers(0, 10**9),
    outbox=st.integers(0, 10**6),
)
def test_no_position_is_forgotten_that_an_unfinished_event_needs(
    now: int, oldest: int | None, retention: int, age: int, outbox: int
) -> None:
    """An entry's event is at most as much older than the entry as its outbox keeps rows."""
    if oldest is None or outbox > retention:
        return
    handled = oldest - min(age, outbox * 1000)
    assert handled >= cutoff(now, oldest, retention)


# Any order of writes, reads, crashes, losses, held rows and passes

OUTBOX, RETENTION = 100.0, 200.0
"""Seconds for which the outbox keeps rows, and the inbox positions."""


class Written(NamedTuple):
    """An event of the outbox."""

    sequence: int
    created: float


FORGOTTEN = (0, 0.0)


class Memory:
    """The position of a receiver with a row: its last sequence, and when it was handled."""

    database_id = "memory"

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.last = FORGOTTEN

    async def page(self, after: Any, limit: int) -> tuple[int, list[inbox.Position]]:
        position = inbox.Position("mail/r", "accounts", MODEL, "1", int(self.last[1] * 1000))
        return int(self.now * 1000), [position] if self.last != FORGOTTEN else []

    async def forget(self, positions: Sequence[inbox.Position]) -> int:
        self.last = FORGOTTEN
        return len(positions)


def result(call: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a call that has nothing to wait for."""
    with pytest.raises(StopIteration) as answer:
        call.send(None)
    return answer.value.value


class Remembering(RuleBasedStateMachine):
    """Check that effects happen once and in order, although positions are forgotten."""

    kind: ClassVar[type[InboxPruner]] = InboxPruner
    retention: ClassVar[float] = RETENTION

    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()
        self.broker = MemoryBroker(lambda: self.memory.now)
        self.written: list[Written] = []
        self.by_id: dict[bytes, Written] = {}
        self.parked: list[Written] = []
        self.effects = 0
        """The sequence of the last effect."""
        self._begin()

    def _begin(self) -> None:
        lease = result(self.broker.acquire(PARTITION, "mail", "w", 1e9))
        assert lease is not None
        self.lease, self.inherit = lease, True

    def _append(self, written: Written) -> None:
        sent = event("1", written.sequence)
        self.by_id[sent.id.encode()] = written
        result(publish(self.broker, sent))

    @rule()
    def write(self) -> None:
        self.written.append(Written(len(self.written) + 1, self.memory.now))
        self._append(self.written[-1])

    @rule(seconds=st.sampled_from((60.0, 250.0)))
    def wait(self, seconds: float) -> None:
        self.memory.now += seconds

    @rule(settles=st.booleans())
    def handle(self, settles: bool) -> None:
        entry = self._next()
        if entry is None:
            return
        written = self.by_id[entry.fields[b"id"]]
        if self.parked:
            self.parked.append(written)
        else:
            self._apply(written)
        # Without, the process may die before the broker knows.
        if settles:
            result(self.broker.settle(self.lease, [entry.id]))

    @rule()
    def hold(self) -> None:
        """The receiver gives up the next event, unless the event is known and not handled."""
        entry = self._next()
        if entry is None:
            return
        written = self.by_id[entry.fields[b"id"]]
        if not self.parked and written.sequence > self.memory.last[0]:
            held = self.broker._streams[PARTITION].groups["mail"].held
            held[RowKey("r", "1")] = HeldState()
            self.parked.append(written)
        elif self.parked:
            self.parked.append(written)
        result(self.broker.settle(self.lease, [entry.id]))

    @rule(skip=st.booleans())
    def release(self, skip: bool) -> None:
        if self.parked:
            parked, self.parked = self.parked[skip:], []
            for written in parked:
                self._apply(written)
            self.broker._streams[PARTITION].groups["mail"].held.clear()

    def _next(self) -> Entry | None:
        fetched = result(self.broker.fetch(self.lease, 1, inherit=self.inherit))
        self.inherit = self.inherit and fetched.inherited
        entry: Entry | None = next(iter(fetched.entries), None)
        return entry

    @rule()
    def crash(self) -> None:
        result(self.broker.release(self.lease))
        self._begin()

    @rule()
    def send_again(self) -> None:
        """After a loss, whatever the outbox still has may be sent again."""
        for written in self.written:
            if written.created >= self.memory.now - OUTBOX:
                self._append(written)
        self.crash()

    @rule()
    def prune(self) -> None:
        result(self.kind(self.broker, "mail", cast(Positions, self.memory), self.retention).prune())

    def _apply(self, written: Written) -> None:
        if self.memory.last[0] < written.sequence:
            assert self.effects < written.sequence, "twice, or out of order"
            self.effects = written.sequence
            self.memory.last = written.sequence, self.memory.now


class IgnoresWhatIsUnfinished(InboxPruner):
    async def _bounds(self, model: str, declared: Mapping[str, int], now: int) -> Bounds:
        known = await super()._bounds(model, declared, now)
        return Bounds(cutoff(now, None, RETENTION), known.held)


class IgnoresHeldRows(InboxPruner):
    async def _bounds(self, model: str, declared: Mapping[str, int], now: int) -> Bounds:
        return Bounds((await super()._bounds(model, declared, now)).before)


def test_effects_happen_once_and_in_order_in_any_course_of_things() -> None:
    options = settings(
        max_examples=150,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Remembering, settings=options)


def crashes_before_the_broker_knows(course: Remembering) -> None:
    course.write()
    course.handle(settles=False)
    course.wait(250.0)
    course.prune()
    course.crash()
    course.handle(settles=True)


def parks_what_was_handled(course: Remembering) -> None:
    course.write()
    course.handle(settles=True)
    course.write()
    course.hold()
    # Both come again: the first, which was handled, is parked behind the second.
    course.send_again()
    course.handle(settles=True)
    course.handle(settles=True)
    course.wait(250.0)
    course.prune()
    course.release(skip=True)


def sends_again_what_was_handled(course: Remembering) -> None:
    course.write()
    course.handle(settles=True)
    course.wait(60.0)
    course.prune()
    course.send_again()
    course.handle(settles=True)


@pytest.mark.parametrize(
    ("planted", "course"),
    [
        ({"kind": IgnoresWhatIsUnfinished}, crashes_before_the_broker_knows),
        ({"kind": IgnoresHeldRows}, parks_what_was_handled),
        ({"retention": OUTBOX / 3}, sends_again_what_was_handled),
    ],
)
def test_each_rule_of_forgetting_is_needed(
    planted: dict[str, Any], course: Callable[[Remembering], None]
) -> None:
    course(Remembering())
    mistaken = type("Mistaken", (Remembering,), planted)
    with pytest.raises(AssertionError, match="twice, or out of order"):
        course(mistaken())
