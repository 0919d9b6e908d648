"""Replay on real servers: the newest event of each row comes last, also beside live changes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.errors import ActionStopped, ConfigurationError
from edgy_bus.operations import (
    Advance,
    EventsReplayed,
    Limits,
    ReplayOrder,
    ReplayPlan,
    actions,
    plan_replay,
    replay,
    unfinished_replays,
)
from edgy_bus.operations.paced import LOCKED
from edgy_bus.outbox.copying import EventCopier
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from tests.integration.service import QUICK
from tests.support import eventually

ROWS = 20
EVENTS = 3 * ROWS
"""Each row is inserted, and updated twice."""

TO = "search/index"
FAST = Limits(rate=100_000.0, page=7)
SIGNALS = ("post_save", "post_update", "post_delete")


class Call:
    """A call of a receiver."""

    def __init__(self, name: str, instance: Any, changes: Any, event: edgy.Event) -> None:
        self.name, self.key, self.version = name, instance.id, instance.version
        self.signal, self.changes, self.event = event.signal, changes, event
        self.values = vars(instance)


class Site:
    """A service with rows, and the workers of two groups, of which one receiver has an inbox."""

    def __init__(self, database_url: str, redis_url: str, prefix: str) -> None:
        # SQLite waits for a lock as long as the URL says.
        waits = "?timeout=1" if database_url.startswith("sqlite") else ""
        self.database = edgy.Database(database_url + waits)
        options: Any = {"prefix": prefix, **QUICK}
        self.bus = edgy.Bus(
            redis_url, service="shop", events=EventSettings(partitions=2), **options
        )
        self.registry = site = edgy.Registry(self.database, bus=self.bus)
        self.calls: list[Call] = []
        self.search = edgy.Bus(redis_url, service="search", **options)
        self.mail = edgy.Bus(redis_url, service="mail", **options)

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            version: int = edgy.IntegerField(default=0)
            secret: str = edgy.CharField(max_length=20, default="hidden", secret=True)

            class Meta:
                registry = site

        self.Item = Item
        self.receiver(self.search, "index", inbox=self.database)
        self.receiver(self.search, "other")
        self.receiver(self.mail, "send")

    def receiver(self, bus: edgy.Bus, name: str, **options: Any) -> None:
        async def receive(sender: Any, instance: Any, event: Any, **keywords: Any) -> None:
            self.calls.append(Call(name, instance, keywords.get("changes"), event))

        for signal in SIGNALS:
            bus.receiver("shop.Item", signal, name=name, **options)(receive)

    async def plan(self, to: str = TO, **order: Any) -> ReplayPlan:
        async with self.bus.operating(databases=True) as parts:
            return await plan_replay(parts, ReplayOrder(to, "Item", **order))

    async def replay(
        self,
        limits: Limits = FAST,
        report: Callable[[Advance], None] = lambda _: None,
        **order: Any,
    ) -> EventsReplayed:
        plan = await self.plan(**order)
        async with self.bus.operating(databases=True) as parts:
            return await replay(parts, plan, limits, report, by="ada")

    def of(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    def replayed(self, name: str = "index") -> list[Call]:
        return [call for call in self.of(name) if call.event.replay is not None]

    def last(self, key: int, name: str = "index") -> Call:
        return [call for call in self.of(name) if call.key == key][-1]

    async def rows(self) -> list[Any]:
        return list((await self.database.run(select(outbox).order_by(outbox.c.id))).rows)

    async def settled(self) -> None:
        """Wait until the receiver has every copy, and the newest events since the beginning."""
        rows = (await self.rows())[EVENTS:]
        copies = {row["id"] for row in rows if row["to"] == TO}
        newest = {row["subject"]: row["id"] for row in rows if row["to"] in (None, TO)}
        expected = copies | set(newest.values())

        def are_here() -> bool:
            return {call.event.sequence for call in self.of("index")} >= expected

        await eventually(are_here, "every event")


@pytest.fixture
async def site(database_url: str, redis_url: str, prefix: str) -> AsyncIterator[Site]:
    site = Site(database_url, redis_url, prefix)
    async with site.bus:
        await site.registry.create_all()
        items = [await site.Item.query.create(version=0) for _ in range(ROWS)]
        for version in (1, 2):
            for item in items:
                await item.update(version=version)
        async with site.search, site.search.worker(), site.mail, site.mail.worker():
            await eventually(lambda: len(site.calls) == 3 * EVENTS, "the events of the beginning")
            site.calls.clear()
            yield site


async def test_every_event_comes_again_to_the_receiver_alone(site: Site) -> None:
    originals = {row["event_id"]: row for row in await site.rows()}
    advances: list[Advance] = []
    done = await site.replay(report=advances.append)
    assert (done.events, done.done, done.total) == (EVENTS, EVENTS, EVENTS)
    await site.settled()
    assert len(site.calls) == len(site.replayed()) == EVENTS, "an inbox takes the copies"
    for key in range(1, ROWS + 1):
        calls = [call for call in site.calls if call.key == key]
        assert [call.version for call in calls] == [0, 1, 2]
    for call in site.calls:
        original = originals[call.event.replay]
        assert call.event.id not in originals
        assert call.event.time.isoformat() == original["time"]
        assert call.signal == original["signal"]
        assert set(call.values) == {"id", "version"}, "no secret"
    assert all(call.changes for call in site.calls if call.signal == "post_update")
    assert advances[-1].done == EVENTS
    (action,) = (await actions(site.bus.broker, 10)).actions
    assert (action.action, action.group, action.receiver) == ("replay", "search", "index")
    assert (action.operator, action.count) == ("ada", EVENTS)
    # A copy is never copied.
    assert (await site.replay()).events == EVENTS


async def test_a_group_gets_a_copy_for_each_receiver(site: Site) -> None:
    done = await site.replay(to="search", signal="post_update")
    assert done.events == 4 * ROWS
    await eventually(lambda: len(site.calls) == 4 * ROWS, "the copies")
    assert len(site.replayed("index")) == len(site.replayed("other")) == 2 * ROWS
    assert {call.signal for call in site.calls} == {"post_update"}


async def test_events_are_chosen_by_row_and_by_time(site: Site) -> None:
    rows = await site.rows()
    assert (await site.plan(key="3")).events == 3
    assert (await site.plan(key="77")).events == 0
    plan = await site.plan()
    assert plan.ends_older == ""
    assert plan.kept_since is not None
    assert int(plan.kept_since.timestamp() * 1000) == rows[0]["created"]
    done = await site.replay(key="3")
    assert done.events == 3
    await site.settled()
    assert [(call.key, call.version) for call in site.calls] == [(3, 0), (3, 1), (3, 2)]


async def test_live_changes_and_a_replay_race_and_the_newest_event_is_the_last(
    site: Site,
) -> None:
    is_over = asyncio.Event()

    async def change(seed: int) -> None:
        rng = random.Random(seed)
        while not is_over.is_set():
            key = rng.randint(1, ROWS)
            async for attempt in site.database.attempts(50):
                async with attempt:
                    if rng.random() < 0.7:
                        await site.Item.query.filter(id=key).update(version=edgy.F("version") + 1)
                    elif await site.Item.query.filter(id=key).exists():
                        await site.Item.query.filter(id=key).delete()
                    else:
                        # The key of a row that is gone, whose events nobody can lock.
                        await site.Item.query.create(id=key, version=1_000)
                    await asyncio.sleep(rng.uniform(0, 0.01))

    changes = [asyncio.create_task(change(seed)) for seed in range(3)]
    try:
        done = await site.replay(Limits(rate=400.0, page=10))
        # The last live events may come before the last copies.
        at_the_end = {row["subject"]: row for row in await site.rows() if row["to"] is None}
    finally:
        is_over.set()
        await asyncio.gather(*changes)
    assert done.events > EVENTS, "live events came meanwhile"
    await site.settled()
    newest = {row["subject"]: row for row in await site.rows() if row["to"] is None}
    assert newest.keys() == at_the_end.keys()
    for subject, row in newest.items():
        last = site.last(int(subject))
        assert row["event_id"] in (last.event.id, last.event.replay), "an older event is the last"
    assert not site.replayed("other")
    assert not site.replayed("send")


@pytest.mark.parametrize("key", [3, ROWS + 1], ids=["row", "row that is gone"])
@pytest.mark.parametrize("begins", ["before", "meanwhile"])
async def test_an_event_whose_transaction_is_open_is_not_passed_over(
    site: Site, key: int, begins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number is smaller than those of copies, so an inbox would refuse it, or get it first."""
    if key > ROWS:
        await site.Item.query.create(id=key, version=3)
        await site.Item.query.filter(id=key).delete()
    may_write, is_written, may_commit = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def change() -> None:
        await may_write.wait()
        async with site.database.transaction():
            if key > ROWS:
                await site.Item.query.create(id=key, version=9)
            else:
                await site.Item.query.filter(id=key).update(version=9)
            is_written.set()
            await may_commit.wait()

    settle = EventCopier.settle

    async def settle_and_write(self: EventCopier) -> None:
        await settle(self)
        monkeypatch.setattr(EventCopier, "settle", settle)
        # In the transaction: the change waits for its end.
        may_write.set()

    waits: list[str] = []

    def report(advance: Advance) -> None:
        if advance.waits:
            waits.append(advance.waits)
            may_commit.set()

    changing = asyncio.create_task(change())
    if begins == "before":
        may_write.set()
        await is_written.wait()
    else:
        monkeypatch.setattr(EventCopier, "settle", settle_and_write)
    slow = Limits(rate=100.0, page=10)
    done = await site.replay(slow, report)
    # For a replay that waited for nothing.
    may_commit.set()
    await changing
    assert waits[0] == LOCKED
    await site.settled()
    assert site.last(key).version == 9
    assert done.events == EVENTS + (3 if key > ROWS else 1)


async def test_the_numbers_of_a_row_rise_in_the_order_of_its_commits(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the locks of rows, a copy would be committed before a live event below it."""
    may_commit = asyncio.Event()
    changes: list[asyncio.Task[None]] = []
    written_meanwhile: list[bool] = []

    async def change() -> None:
        async with site.database.transaction():
            await site.Item.query.filter(id=3).update(version=9)
            await may_commit.wait()

    settle, append = EventCopier.settle, EventCopier._append

    async def settle_and_change(self: EventCopier) -> None:
        await settle(self)
        monkeypatch.setattr(EventCopier, "settle", settle)
        changes.append(asyncio.create_task(change()))

    async def look(self: EventCopier, page: Any, *arguments: Any, **keywords: Any) -> Any:
        is_there = any(event["subject"] == "3" for event in page)
        written_meanwhile.append(is_there and not may_commit.is_set())
        return await append(self, page, *arguments, **keywords)

    monkeypatch.setattr(EventCopier, "settle", settle_and_change)
    monkeypatch.setattr(EventCopier, "_append", look)

    def report(advance: Advance) -> None:
        if advance.waits == LOCKED:
            may_commit.set()

    await site.replay(Limits(rate=50.0, page=2), report)
    # For a replay that waited for nothing.
    may_commit.set()
    await asyncio.gather(*changes)
    assert not any(written_meanwhile)
    await site.settled()
    assert site.last(3).version == 9


async def test_a_replay_that_is_cut_off_goes_on_where_it_stood(site: Site) -> None:
    running = asyncio.Event()

    def report(advance: Advance) -> None:
        if advance.done >= 10:
            running.set()

    cut = asyncio.create_task(site.replay(Limits(rate=100.0, page=5), report))
    await running.wait()
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    with pytest.raises(ConfigurationError, match=r"is unfinished: .* events are sent"):
        await site.replay()
    async with site.bus.operating(databases=True) as parts:
        (unfinished,) = await unfinished_replays(parts)
    assert 10 <= unfinished.done < EVENTS
    await site.Item.query.filter(id=1).update(version=9)
    done = await site.replay(course="resume")
    # The live event has come before copies of older events, or could have.
    assert (done.events, done.done) == (EVENTS + 1 - unfinished.done, EVENTS + 1)
    await site.settled()
    assert len(site.replayed()) == EVENTS + 1
    assert site.last(1).version == 9
    async with site.bus.operating(databases=True) as parts:
        assert await unfinished_replays(parts) == ()
    with pytest.raises(ConfigurationError, match=r"no replay of shop\.Item to .* is unfinished"):
        await site.replay(course="resume")


async def test_the_same_replay_twice_at_once_sends_no_event_twice(site: Site) -> None:
    begun = asyncio.Event()
    slow = Limits(rate=50.0, page=5)
    first = asyncio.create_task(site.replay(slow, lambda _: begun.set()))
    await begun.wait()
    second = asyncio.create_task(site.replay(slow, course="resume"))
    ended = await asyncio.gather(first, second, return_exceptions=True)
    (refused,) = [each for each in ended if isinstance(each, ActionStopped)]
    assert "another process has gone on with the replay" in str(refused)
    await site.settled()
    assert len(site.replayed()) == EVENTS


@pytest.mark.parametrize("group", ["search", "mail"])
async def test_while_a_worker_of_an_older_release_is_alive_nothing_is_sent(
    site: Site, group: str
) -> None:
    """It would give the events to all of its receivers."""
    assert site.bus.broker is not None
    await site.bus.broker.join(group, "old-1", 60, b'{"protocol":1,"receivers":["index"]}')
    with pytest.raises(ConfigurationError, match=f"stop old-1 of {group}"):
        await site.replay()
    await site.bus.broker.leave(group, "old-1")
    assert (await site.replay()).events == EVENTS
