"""Replay: the plan, the copies, and what is refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError, EdgyBusError, TryAgain
from edgy_bus.operations import (
    Advance,
    EventsReplayed,
    Limits,
    ReplayOrder,
    ReplayPlan,
    doctor,
    plan_replay,
    replay,
    unfinished_replays,
)
from edgy_bus.operations.paced import LOCKED
from edgy_bus.outbox.copying import EventCopier
from edgy_bus.outbox.table import meta, outbox
from tests.support import eventually
from tests.unit.operations.test_backfills import FAST, TO, Shop

NOW = datetime.now(UTC)


class Again(Shop):
    """A service without a relay, whose events are sent again."""

    async def plan_replay(
        self, to: str = TO, model: str | None = "Item", **order: Any
    ) -> ReplayPlan:
        async with self.bus.operating(databases=True) as parts:
            return await plan_replay(parts, ReplayOrder(to, model, **order))

    async def replay(
        self, to: str = TO, model: str | None = "Item", limits: Limits = FAST, **order: Any
    ) -> EventsReplayed:
        plan = await self.plan_replay(to, model, **order)
        async with self.bus.operating(databases=True) as parts:
            return await replay(parts, plan, limits, self.report)

    async def write(self, count: int) -> None:
        for number in range(count):
            await self.Item.query.create(name=f"n{number}")

    async def copies(self) -> list[dict[str, Any]]:
        return [event for event in await self.events() if event["to"] is not None]

    async def date(self, number: int, written: datetime) -> None:
        created = int(written.timestamp() * 1000)
        dated = update(outbox).where(outbox.c.id <= number).values(created=created)
        await self.database.run(dated)

    def report(self, advance: Advance) -> None:
        self.advances.append(advance)


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Again]:
    shop = Again(sqlite_url)
    shop.advances = []
    async with shop.bus:
        await shop.registry.create_all()
        await shop.enlist()
        yield shop


async def test_a_copy_is_the_stored_event_with_an_identity_of_its_own(shop: Again) -> None:
    with edgy.Bus.context(actor="ada"):
        item = await shop.Item.query.create(name="x")
    await shop.Item.query.filter(id=item.id).delete()
    done = await shop.replay()
    assert (done.events, done.done, done.total) == (1, 1, 1)
    original, _, copy = await shop.events()
    kept = ("model", "source", "signal", "subject", "time", "traceparent", "causation", "data")
    assert [copy[name] for name in kept] == [original[name] for name in kept]
    assert (copy["to"], copy["label"]) == (TO, original["label"])
    assert copy["context"] == f'{{"actor":"ada","replayof":"{original["event_id"]}"}}'
    assert copy["event_id"] != original["event_id"]


async def test_a_receiver_sees_that_an_event_is_a_copy(shop: Again) -> None:
    await shop.write(1)
    async with shop.bus.worker():
        await shop.relay()
        await eventually(lambda: len(shop.calls) == 1, "the live event")
        await shop.replay()
        await shop.relay()
        await eventually(lambda: len(shop.calls) == 2, "the copy")
    live, copy = (call["event"] for call in shop.calls)
    assert (live.replay, copy.replay) == (None, live.id)
    assert copy.context == live.context == {}
    assert (copy.time, copy.data, copy.subject) == (live.time, live.data, live.subject)
    assert copy.sequence > live.sequence
    assert not copy.backfill


async def test_the_copies_of_a_bus_that_signs_are_signed(sqlite_url: str) -> None:
    shop = Again(sqlite_url, keys={"k1": "a secret of more than 16 bytes"})
    shop.advances = []
    async with shop.bus:
        await shop.registry.create_all()
        await shop.enlist()
        await shop.write(1)
        async with shop.bus.worker():
            await shop.replay()
            await shop.relay()
            await eventually(lambda: len(shop.calls) == 2, "the event and its copy")
    assert [call["event"].replay is None for call in shop.calls] == [True, False]


async def test_events_are_chosen_by_row_signal_and_time(shop: Again) -> None:
    await shop.enlist("updates", "shop.Item.post_update", "shop.Item.post_save")
    await shop.write(4)
    await shop.Item.query.filter(id=2).update(name="y")
    await shop.date(2, NOW - timedelta(hours=3))
    assert (await shop.plan_replay()).events == 4
    assert (await shop.plan_replay("search/updates")).events == 5
    assert (await shop.plan_replay("search/updates", key="2")).events == 2
    assert (await shop.plan_replay("search/updates", signal="post_update")).events == 1
    assert (await shop.plan_replay(since=NOW - timedelta(hours=1))).events == 2
    plan = await shop.plan_replay(until=NOW - timedelta(hours=1))
    assert (plan.events, plan.models[0].until) == (2, "3")
    done = await shop.replay("search/updates", key="2", since=NOW - timedelta(hours=1))
    assert done.events == 1
    (copy,) = await shop.copies()
    assert (copy["signal"], copy["subject"]) == ("post_update", "2")


async def test_a_group_gets_copies_for_each_receiver_and_signal(shop: Again) -> None:
    await shop.enlist("updates", "shop.Item.post_update")
    await shop.write(3)
    await shop.Item.query.filter(id=2).update(name="y")
    assert (await shop.replay("search", limits=Limits(rate=100_000.0, page=1))).events == 4
    copies = [(copy["to"], copy["signal"]) for copy in await shop.copies()]
    assert copies == [(TO, "post_save")] * 3 + [("search/updates", "post_update")]


async def test_without_a_model_those_that_the_receiver_gets_come_model_by_model(
    shop: Again,
) -> None:
    await shop.Word.query.create(text="a")
    await shop.write(2)
    plan = await shop.plan_replay(model=None)
    assert [(each.model, each.events) for each in plan.models if each.events] == [
        ("shop.Item", 2),
        ("shop.Word", 1),
    ]
    running = asyncio.create_task(shop.replay(model=None, limits=Limits(rate=0.1, page=1)))
    await eventually(shop.copies, "the first copy")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    done = await shop.replay(model=None, course="resume")
    assert (done.done, done.total) == (3, 3)
    assert [copy["subject"] for copy in await shop.copies()] == ["1", "2", "a"]
    async with shop.bus.operating(databases=True) as parts:
        assert await unfinished_replays(parts) == ()
    with pytest.raises(ConfigurationError, match="no replay to search/index is unfinished"):
        await shop.replay(model=None, course="resume")


async def test_events_that_were_for_one_receiver_do_not_come_again(shop: Again) -> None:
    await shop.write(2)
    assert (await shop.backfill()).events == 2
    assert (await shop.replay()).events == 2
    assert (await shop.replay()).events == 2


async def test_live_events_of_many_laps_come_again(
    shop: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far behind the newest event, a replay settles first, and does not end."""
    monkeypatch.setattr("edgy_bus.outbox.copying._NEAR", 2)
    await shop.write(6)
    settle, laps = EventCopier.settle, 0

    async def settle_later(self: EventCopier) -> None:
        nonlocal laps
        laps += 1
        if laps in (2, 3):
            # Three more in the same transaction, as if they had been committed before.
            await shop.write(3)
        await settle(self)

    monkeypatch.setattr(EventCopier, "settle", settle_later)
    assert (await shop.replay()).events == 12
    assert [copy["subject"] for copy in await shop.copies()] == [str(key) for key in range(1, 13)]
    assert laps > 3


async def test_the_plan_says_what_it_leaves_out(shop: Again) -> None:
    await shop.enlist("updates", "shop.Item.post_update", "shop.Item.post_save")
    await shop.write(2)
    await shop.date(1, NOW - timedelta(hours=3))
    assert (await shop.plan_replay("search/updates")).ends_older == ""
    assert (await shop.plan_replay(signal="post_save")).ends_older == ""
    plan = await shop.plan_replay("search/updates", signal="post_save")
    assert plan.ends_older == "search/updates also gets post_update, which do not come again"
    plan = await shop.plan_replay(until=NOW - timedelta(hours=1))
    assert plan.ends_older.startswith("events since ")
    assert plan.kept_since is not None
    assert abs(plan.kept_since - (NOW - timedelta(hours=3))) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"until": NOW - timedelta(days=1)}, "its retention has deleted them"),
        ({"until": NOW + timedelta(days=1)}, "has not come: leave --until out"),
        ({"since": NOW, "until": NOW - timedelta(seconds=9)}, "--since is not before --until"),
        ({"model": None, "key": "1"}, "a key is that of a row of a model: add --model"),
        ({"model": "Itm"}, "has no model 'Itm': did you mean"),
        ({"to": "search/"}, "'search/' is neither a group nor a receiver"),
        ({"to": "/index"}, "'/index' is neither a group nor a receiver"),
        ({"to": "nobody"}, "nobody"),
        ({"to": "search/inde"}, "has no receiver 'inde'"),
        ({"signal": "post_sav"}, "does not subscribe to shop.Item.post_sav"),
        ({"signal": "pre_save"}, "does not subscribe to shop.Item.pre_save"),
        ({"course": "resume"}, "no replay of shop.Item to search/index is unfinished"),
    ],
)
async def test_a_mistake_is_named_before_anything_is_written(
    shop: Again, order: dict[str, Any], text: str
) -> None:
    await shop.write(1)
    with pytest.raises(EdgyBusError) as caught:
        await shop.replay(**order)
    assert text in str(caught.value)
    assert await shop.copies() == []


async def test_another_choice_is_no_continuation(shop: Again) -> None:
    await shop.write(3)
    running = asyncio.create_task(shop.replay(limits=Limits(rate=0.1, page=1), signal="post_save"))
    await eventually(shop.copies, "the first copy")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(ConfigurationError, match=r"1 of 3 events are sent\. Continue with"):
        await shop.replay()
    with pytest.raises(ConfigurationError, match=r"has other events \(signal=post_save\)"):
        await shop.replay(course="resume", key="1")
    assert (await shop.replay(course="restart")).events == 3


async def test_a_transaction_that_does_not_end_is_waited_for(
    shop: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, lost = EventCopier.settle, iter([True, False, True])

    async def lose(self: EventCopier) -> None:
        if next(lost, False):
            raise TryAgain("a lock")
        await settle(self)

    monkeypatch.setattr(EventCopier, "settle", lose)
    await shop.write(2)
    assert (await shop.replay()).events == 2
    assert [each.waits for each in shop.advances if each.waits] == [LOCKED] * 2
    assert len(await shop.copies()) == 2


async def test_a_replay_that_stands_and_an_entry_that_is_none_are_findings(
    shop: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def findings() -> list[str]:
        async with shop.bus.operating(databases=True) as parts:
            diagnosis = await doctor(parts, seconds=0)
        kinds = ("backfill", "replay")
        return [each.code for each in diagnosis.findings if each.code.startswith(kinds)]

    await shop.write(2)
    running = asyncio.create_task(shop.replay(limits=Limits(rate=0.1, page=1)))
    await eventually(shop.copies, "the first copy")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await findings() == []
    monkeypatch.setattr("edgy_bus.operations.diagnosis.UNMOVED", -60.0)
    assert await findings() == ["replay.stands"]
    for name in ("backfill.a", "replay.b"):
        await shop.database.run(meta.insert().values(name=name, value="{"))
    # The entry that cannot be read hides no other.
    assert sorted(await findings()) == ["backfill.unreadable", "replay.stands", "replay.unreadable"]
