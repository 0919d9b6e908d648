"""Backfill on real servers: a receiver never gets an older row after a newer one."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.errors import ActionStopped, ConfigurationError
from edgy_bus.operations import (
    Advance,
    Backfilled,
    Limits,
    Order,
    actions,
    backfill,
    plan_backfill,
    unfinished_backfills,
)
from edgy_bus.operations.paced import LOCKED
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from tests.integration.service import QUICK
from tests.support import eventually

ROWS = 40
TO = "search/index"
FAST = Limits(rate=100_000.0, page=7)


class Call:
    """A call of a receiver."""

    def __init__(self, instance: Any, changes: Any, event: edgy.Event) -> None:
        self.key, self.version = instance.id, instance.version
        self.changes, self.backfill = changes, event.backfill
        self.sequence = event.sequence
        self.values = vars(instance)


class Site:
    """A service with rows, the workers of two groups, and what their receivers were called with."""

    def __init__(self, database_url: str, redis_url: str, prefix: str) -> None:
        # SQLite waits for a lock as long as the URL says.
        waits = "?timeout=0.2" if database_url.startswith("sqlite") else ""
        self.database = edgy.Database(database_url + waits)
        options: Any = {"prefix": prefix, **QUICK}
        self.bus = edgy.Bus(
            redis_url, service="shop", events=EventSettings(partitions=2), **options
        )
        self.registry = site = edgy.Registry(self.database, bus=self.bus)
        self.calls: defaultdict[str, list[Call]] = defaultdict(list)
        self.search = edgy.Bus(redis_url, service="search", **options)
        self.mail = edgy.Bus(redis_url, service="mail", **options)

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            version: int = edgy.IntegerField(default=0)
            secret: str = edgy.CharField(max_length=20, default="hidden", secret=True)

            class Meta:
                registry = site

        self.Item = Item
        self.receiver(self.search, "index")
        self.receiver(self.search, "other")
        self.receiver(self.mail, "send")

    def receiver(self, bus: edgy.Bus, name: str) -> None:
        async def receive(sender: Any, instance: Any, changes: Any, event: Any, **_: Any) -> None:
            self.calls[name].append(Call(instance, changes, event))

        for signal in ("post_save", "post_update"):
            bus.receiver("shop.Item", signal, name=name)(receive)

    async def backfill(
        self, limits: Limits = FAST, report: Callable[[Advance], None] = print, **order: Any
    ) -> Backfilled:
        async with self.bus.operating(databases=True) as parts:
            plan = await plan_backfill(parts, Order("Item", TO, **order))
            return await backfill(parts, plan, limits, report, by="ada")

    @property
    def has_begun(self) -> bool:
        """Whether all receivers have the rows of the beginning."""
        return [len(self.calls[name]) for name in ("index", "other", "send")] == [ROWS] * 3

    def backfilled(self, name: str = "index") -> list[Call]:
        return [call for call in self.calls[name] if call.backfill]

    def versions(self, key: int) -> list[int]:
        return [call.version for call in self.calls["index"] if call.key == key]

    async def settled(self) -> None:
        """Wait until the receiver has every event of the outbox, but those of the beginning."""
        events = select(outbox.c.id).where(outbox.c.signal != "post_delete").order_by(outbox.c.id)
        expected = {row["id"] for row in (await self.database.run(events)).rows[ROWS:]}

        def are_here() -> bool:
            return {call.sequence for call in self.calls["index"]} >= expected

        await eventually(are_here, "every event")


@pytest.fixture
async def site(database_url: str, redis_url: str, prefix: str) -> AsyncIterator[Site]:
    site = Site(database_url, redis_url, prefix)
    async with site.bus:
        await site.registry.create_all()
        await site.Item.query.bulk_create([{"version": 0} for _ in range(ROWS)])
        async with site.search, site.search.worker(), site.mail, site.mail.worker():
            await eventually(lambda: site.has_begun, "the rows of the beginning")
            site.calls.clear()
            yield site


async def test_every_row_comes_to_the_receiver_alone_with_what_a_save_has(site: Site) -> None:
    advances: list[Advance] = []
    done = await site.backfill(report=advances.append)
    assert (done.events, done.done, done.total) == (ROWS, ROWS, ROWS)
    await site.settled()
    calls = site.backfilled()
    assert sorted(call.key for call in calls) == list(range(1, ROWS + 1))
    assert all(call.changes is None for call in calls)
    assert all(set(call.values) == {"id", "version"} for call in calls), "no secret"
    # Live events go on to everybody, and are no backfill.
    await site.Item.query.create(version=7)
    await eventually(lambda: site.calls["send"] and site.calls["other"], "the live event")
    assert [call.version for call in site.calls["send"] + site.calls["other"]] == [7, 7]
    assert not site.backfilled("send")
    assert [each.done for each in advances][-1] == ROWS
    assert advances[-1].remaining == 0
    (action,) = (await actions(site.bus.broker, 10)).actions
    assert (action.action, action.group, action.receiver) == ("backfill", "search", "index")
    assert (action.operator, action.count) == ("ada", ROWS)


async def test_a_row_that_another_transaction_is_changing_comes_as_changed(site: Site) -> None:
    """Without the locks, the row before the change would come after the change."""
    is_written, may_commit = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with site.database.transaction():
            await site.Item.query.filter(id=3).update(version=1)
            is_written.set()
            await may_commit.wait()

    def report(advance: Advance) -> None:
        if advance.waits == LOCKED:
            may_commit.set()

    changing = asyncio.create_task(change())
    await is_written.wait()
    done = await site.backfill(report=report)
    # For a backfill that waited for nothing.
    may_commit.set()
    await changing
    assert done.events == ROWS
    await site.settled()
    assert site.versions(3)[-1] == 1
    assert [call.version for call in site.backfilled() if call.key == 3] == [1]


async def test_live_changes_and_a_backfill_race_and_the_newest_row_wins(site: Site) -> None:
    is_over = asyncio.Event()

    async def change(seed: int) -> None:
        rng = random.Random(seed)
        while not is_over.is_set():
            async for attempt in site.database.attempts(20):
                async with attempt:
                    item = await site.Item.query.get(id=rng.randint(1, ROWS))
                    await item.update(version=edgy.F("version") + 1)
                    await asyncio.sleep(rng.uniform(0, 0.005))

    changes = [asyncio.create_task(change(seed)) for seed in range(4)]
    try:
        done = await site.backfill(Limits(rate=150.0, page=3))
    finally:
        is_over.set()
        await asyncio.gather(*changes)
    assert done.events == ROWS
    await site.settled()
    assert {call.key for call in site.backfilled()} == set(range(1, ROWS + 1))
    for item in await site.Item.query.all():
        versions = site.versions(item.id)
        assert versions == sorted(versions), "an older row came after a newer one"
        assert versions[-1] == item.version
    assert not site.backfilled("other")
    assert not site.backfilled("send")


async def test_a_backfill_that_is_cut_off_goes_on_where_it_stood(site: Site) -> None:
    running = asyncio.Event()

    def report(advance: Advance) -> None:
        if advance.done >= 10:
            running.set()

    cut = asyncio.create_task(site.backfill(Limits(rate=100.0, page=5), report))
    await running.wait()
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    with pytest.raises(ConfigurationError, match=r"is unfinished: .* rows are sent"):
        await site.backfill()
    async with site.bus.operating(databases=True) as parts:
        (unfinished,) = await unfinished_backfills(parts)
    assert 10 <= unfinished.done < ROWS
    assert (unfinished.total, unfinished.by) == (ROWS, "ada")
    # Rows of the meantime have live events, also the one behind the last key.
    new = await site.Item.query.create(version=5)
    await site.Item.query.filter(id=ROWS).delete()
    done = await site.backfill(course="resume")
    assert (done.events, done.done) == (ROWS - 1 - unfinished.done, ROWS - 1)
    await site.settled()
    # Page and progress are one transaction: no row is missing, and none comes twice.
    assert sorted(call.key for call in site.backfilled()) == list(range(1, ROWS))
    assert site.versions(new.id) == [5]
    async with site.bus.operating(databases=True) as parts:
        assert await unfinished_backfills(parts) == ()
    with pytest.raises(ConfigurationError, match=r"no backfill of shop\.Item to .* is unfinished"):
        await site.backfill(course="resume")


async def test_the_same_backfill_twice_at_once_sends_no_row_twice(site: Site) -> None:
    """Both have read the same state: the first page of one of them refuses the other."""
    begun = asyncio.Event()
    slow = Limits(rate=20.0, page=5)
    first = asyncio.create_task(site.backfill(slow, lambda advance: begun.set()))
    await begun.wait()
    second = asyncio.create_task(site.backfill(slow, course="resume"))
    ended = await asyncio.gather(first, second, return_exceptions=True)
    (refused,) = [each for each in ended if isinstance(each, ActionStopped)]
    assert "another process has gone on with the backfill" in str(refused)
    (done,) = [each for each in ended if isinstance(each, Backfilled)]
    assert done.done == ROWS
    await site.settled()
    assert sorted(call.key for call in site.backfilled()) == list(range(1, ROWS + 1))


async def test_only_rows_that_match_are_sent(site: Site) -> None:
    await site.Item.query.filter(id__lte=4).update(version=2)
    done = await site.backfill(where=("version__gte=1", "id__in=2,3,9"))
    assert done.events == 2
    await site.settled()
    assert sorted(call.key for call in site.backfilled()) == [2, 3]


@pytest.mark.parametrize("group", ["search", "mail"])
async def test_while_a_worker_of_an_older_release_is_alive_nothing_is_sent(
    site: Site, group: str
) -> None:
    """It would give the events to all of its receivers."""
    assert site.bus.broker is not None
    await site.bus.broker.join(group, "old-1", 60, b'{"protocol":1,"receivers":["index"]}')
    with pytest.raises(ConfigurationError, match=f"stop old-1 of {group}"):
        await site.backfill()
    await site.bus.broker.leave(group, "old-1")
    assert (await site.backfill()).events == ROWS


async def test_a_worker_of_an_older_release_stops_a_backfill_that_runs(site: Site) -> None:
    assert site.bus.broker is not None
    broker = site.bus.broker
    joined: list[Awaitable[Any]] = []

    def report(_: Advance) -> None:
        if not joined:
            old = broker.join("search", "old-1", 60, b'{"protocol":2,"receivers":[]}')
            joined.append(asyncio.ensure_future(old))

    with pytest.raises(ActionStopped, match=r"stop old-1 of search, .*continue with --resume"):
        await site.backfill(Limits(rate=5.0, page=5), report)
    (action,) = (await actions(broker, 10)).actions
    assert action.result == "ActionStopped: perhaps a part is done"
