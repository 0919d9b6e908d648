"""Backfill and replay of mapped classes: rows and events go to a receiver again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError, OperationError
from edgy_bus.operations import (
    Advance,
    Limits,
    Order,
    ReplayOrder,
    backfill,
    plan_backfill,
    plan_replay,
    replay,
)
from edgy_bus.operations.paced import LOCKED
from edgy_bus.settings import EventSettings
from tests.integration.alchemy import Shop
from tests.integration.alchemy_zoo import (
    Animal,
    Bird,
    Cat,
    Group,
    Kind,
    Parrot,
    Part,
    Thing,
    open_zoo,
)
from tests.integration.service import QUICK
from tests.support import eventually

TO = "search/index"
FAST = Limits(rate=100_000.0, page=3)
CLASSES = (Group, Part, Thing, Animal, Bird, Parrot, Cat)


class Site:
    """The zoo, and the workers of a group whose receiver gets all events."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.calls = shop, list[tuple[str, Any, Any, edgy.Event]]()

    def receive_by(self, bus: edgy.Bus, name: str) -> None:
        async def receive(sender: Any, instance: Any, event: edgy.Event, **_: Any) -> None:
            self.calls.append((name, sender, instance, event))

        for mapped in CLASSES:
            for signal in ("post_save", "post_update", "post_delete"):
                bus.receiver(f"zoo.{mapped.__name__}", signal, name=name)(receive)

    async def backfill(self, model: str, report: Any = lambda _: None, **order: Any) -> int:
        async with self.shop.bus.operating(databases=True) as parts:
            plan = await plan_backfill(parts, Order(model, TO, **order))
            done = await backfill(parts, plan, FAST, report, by="ada")
            assert done.total == plan.rows
            return done.events

    async def replay(self, **order: Any) -> int:
        async with self.shop.bus.operating(databases=True) as parts:
            plan = await plan_replay(parts, ReplayOrder(TO, **order))
            return (await replay(parts, plan, FAST, lambda _: None, by="ada")).events

    def again(self) -> list[tuple[str, str | None]]:
        """The models and the keys of what came again, to the receiver alone."""
        calls = [each for each in self.calls if each[3].backfill or each[3].replay is not None]
        assert all(name == "index" for name, *_ in calls)
        return [(event.model.removeprefix("zoo."), event.subject) for *_, event in calls]

    async def has_come(self, count: int) -> None:
        await eventually(lambda: len(self.again()) >= count, f"{count} events")
        assert len(self.again()) == count


ROWS = 21


async def fill(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add_all([Group(id=number, name=f"g{number % 2}") for number in range(8)])
        await session.flush()
        session.add_all([Part(group_id=number % 2, place=-number) for number in range(7)])
        session.add_all([Animal(id=1), Bird(id=2), Cat(id=3), Parrot(id=4)])
        session.add_all([Thing(kind=Kind.B, secret="hidden"), Thing()])
        await session.commit()


@pytest.fixture
async def site(database_url: str, redis_url: str, prefix: str) -> AsyncIterator[Site]:
    options: Any = {"prefix": prefix, **QUICK}
    events = EventSettings(partitions=2)
    async with open_zoo(database_url, redis_url, relay=True, events=events, **options) as shop:
        site = Site(shop)
        search = edgy.Bus(redis_url, service="search", **options)
        for name in ("index", "other"):
            site.receive_by(search, name)
        async with search, search.worker():
            await fill(shop)
            await eventually(lambda: len(site.calls) == 2 * ROWS, "the rows of the beginning")
            site.calls.clear()
            yield site


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        ("Group", [str(number) for number in range(8)]),
        ("Part", ["[0,-6]", "[0,-4]", "[0,-2]", "[0,0]", "[1,-5]", "[1,-3]", "[1,-1]"]),
        ("Animal", ["1"]),
        ("Bird", ["2"]),
        ("Parrot", ["4"]),
        ("Cat", ["3"]),
    ],
)
async def test_each_row_comes_to_the_receiver_alone(
    site: Site, model: str, keys: list[str]
) -> None:
    assert await site.backfill(model) == len(keys)
    await site.has_come(len(keys))
    assert sorted(site.again()) == sorted((model, key) for key in keys)


async def test_a_row_comes_as_a_save_has_it(site: Site) -> None:
    """With values of all types, read by another driver than that of the session."""
    before = {data["instance"]["id"]: data for m, _, _, data in await site.shop.events()
              if m == "Thing"}  # fmt: skip
    assert await site.backfill("Thing") == 2
    await site.has_come(2)
    after = [data for model, _, _, data in await site.shop.events() if model == "Thing"][2:]
    assert {data["instance"]["id"]: data for data in after} == before
    assert all("secret" not in data["instance"] for data in after)


@pytest.mark.parametrize(
    ("model", "where", "count"),
    [
        ("Group", ("name=g1",), 4),
        ("Group", ("id__gte=2", "id__lt=5"), 3),
        ("Group", ("id__in=1,3,9",), 2),
        ("Group", ("pk__in=1,3,9",), 2),
        ("Group", ("id__range=2,4",), 3),
        ("Thing", ("kind=B",), 1),
        ("Thing", ("at__gt=2025-01-01T00:00:00", "text__isnull=true"), 2),
        ("Parrot", ("words=5", "legs=4"), 1),
        ("Parrot", ("words=6",), 0),
        ("Part", ("pk=[1,-3]",), 1),
    ],
)
async def test_conditions_choose_rows(
    site: Site, model: str, where: tuple[str, ...], count: int
) -> None:
    assert await site.backfill(model, where=where) == count
    await site.has_come(count)


@pytest.mark.parametrize("where", ["nme=x", "name__like=x", "id=x", "secret=x", "kind=C",
                                   "id__range=1", "pk__gt=1"])  # fmt: skip
async def test_conditions_that_do_not_fit_are_refused(site: Site, where: str) -> None:
    with pytest.raises((OperationError, ConfigurationError)):
        await site.backfill("Thing", where=(where,))


async def test_a_row_that_is_being_changed_comes_as_changed(site: Site) -> None:
    """Without the locks, the row before the change would come after the change."""
    may_commit, is_written = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with site.shop.sessions() as session:
            await session.execute(sa.update(Parrot).values(words=9))
            is_written.set()
            await may_commit.wait()
            await session.commit()

    def report(advance: Advance) -> None:
        if advance.waits == LOCKED:
            may_commit.set()

    changing = asyncio.create_task(change())
    await is_written.wait()
    assert await site.backfill("Parrot", report) == 1
    may_commit.set()
    await changing
    await site.has_come(1)
    [words] = [call[2].words for call in site.calls if call[3].backfill]
    assert words == 9


async def test_all_events_of_a_class_come_again(site: Site) -> None:
    async with site.shop.sessions() as session:
        await session.execute(sa.update(Part).where(Part.place == -4).values(text="new"))
        await session.execute(sa.delete(Part).where(Part.place == -6))
        await session.execute(sa.update(Bird).values(wings=1))
        await session.commit()
    await eventually(lambda: len(site.calls) == 2 * 4, "the live events")
    site.calls.clear()
    assert await site.replay(model="Part") == 7 + 2
    await site.has_come(9)
    site.calls.clear()
    assert await site.replay(model="Part", key="[0,-4]") == 2
    await site.has_come(2)
    site.calls.clear()
    # All models of the receiver.
    assert await site.replay(signal="post_update") == 1 + 2
    await site.has_come(3)
    assert {model for model, _ in site.again()} == {"Part", "Bird", "Parrot"}
