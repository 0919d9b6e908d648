"""Backfill: the checks, the pages, the bounds, and what a receiver gets."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.brokers.base import Enlisted, Listed
from edgy_bus.codec import loads
from edgy_bus.errors import (
    ActionStopped,
    BrokerUnavailable,
    ConfigurationError,
    EdgyBusError,
    OperationError,
    TryAgain,
)
from edgy_bus.events import Partition
from edgy_bus.operations import (
    Advance,
    Backfilled,
    Limits,
    Order,
    Plan,
    backfill,
    doctor,
    plan_backfill,
    unfinished_backfills,
)
from edgy_bus.operations.paced import LOCKED
from edgy_bus.outbox.store import ProgressStore
from edgy_bus.outbox.table import meta, outbox
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from tests.support import eventually

TO = "search/index"
FAST = Limits(rate=100_000.0, page=3)


class Shop:
    """A service without a relay, and receivers in two groups."""

    def __init__(self, url: str, keys: Mapping[str, str] | None = None, **options: Any) -> None:
        self.database = edgy.Database(url)
        self.bus = edgy.Bus(
            "memory://",
            service="shop",
            relay=False,
            signing_keys=keys,
            events=EventSettings(partitions=2, **options),
            working=WorkerSettings(lease=1.0, block=0.05, backoff=0.05),
            relaying=RelaySettings(poll=0.05),
        )
        self.registry = shop = edgy.Registry(self.database, bus=self.bus)
        self.calls: list[dict[str, Any]] = []
        self.broker: Any = self.bus.broker

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=3_000, default="")

            class Meta:
                registry = shop

        class Quiet(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = shop
                publish = ("post_update",)

        class Note(edgy.Model):
            id: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                registry = shop

        class Word(edgy.Model):
            text: str = edgy.CharField(max_length=50, primary_key=True)

            class Meta:
                registry = shop

        class Amount(edgy.Model):
            value: float = edgy.FloatField(primary_key=True)

            class Meta:
                registry = shop

        self.Item, self.Note, self.Word, self.Amount = Item, Note, Word, Amount
        for model in ("Item", "Quiet", "Note", "Word", "Amount"):
            self.receive(model, "index", "post_save", when_changed=("name",))
        self.receive("Item", "updates", "post_update")
        self.receive("Item", "picky", "post_save", where=lambda item: item.id == 2)

    def receive(self, model: str, name: str, signal: str, **options: Any) -> None:
        async def receiver(sender: str, **keywords: Any) -> None:
            self.calls.append({"name": name, **keywords})

        if model != "Item":
            options.pop("when_changed", None)
        self.bus.receiver(f"shop.{model}", signal, name=name, group="search", **options)(receiver)

    async def enlist(self, name: str = "index", *signals: str) -> None:
        """List a receiver, as its worker does when it starts."""
        names = signals or tuple(
            f"shop.{model}.post_save" for model in ("Item", "Quiet", "Note", "Word", "Amount")
        )
        await self.broker.enlist("search", [Enlisted(name, names)], 60, begins=True)

    async def plan(self, model: str = "Item", to: str = TO, **order: Any) -> Plan:
        async with self.bus.operating(databases=True) as parts:
            return await plan_backfill(parts, Order(model, to, **order))

    async def backfill(
        self, model: str = "Item", to: str = TO, limits: Limits = FAST, **order: Any
    ) -> Backfilled:
        plan = await self.plan(model, to, **order)
        async with self.bus.operating(databases=True) as parts:
            return await backfill(parts, plan, limits, self.report)

    def report(self, advance: Advance) -> None:
        self.advances.append(advance)

    @property
    def waits(self) -> list[str]:
        return [each.waits for each in self.advances if each.waits]

    async def events(self) -> list[dict[str, Any]]:
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        return [{**row, "data": loads(row["data"])} for row in rows]

    async def relay(self) -> None:
        """Publish what is in the outbox."""
        (relay,) = self.bus.relays()
        async with relay:
            await eventually(self.is_published, "the outbox")

    async def is_published(self) -> bool:
        async with self.bus.operating(databases=True) as parts:
            return await parts.outboxes[0].count_pending() == 0

    async def fill(self, count: int) -> None:
        """Insert rows that have no events."""
        for _ in range(count):
            await self.database.run(self.Item.meta.table.insert().values(name="x"))

    advances: list[Advance]


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Shop]:
    shop = Shop(sqlite_url)
    shop.advances = []
    async with shop.bus:
        await shop.registry.create_all()
        await shop.enlist()
        yield shop


async def test_a_row_is_an_outbox_row_for_the_receiver_in_the_order_of_keys(shop: Shop) -> None:
    await shop.fill(8)
    done = await shop.backfill()
    assert (done.events, done.done, done.total) == (8, 8, 8)
    events = await shop.events()
    assert [event["subject"] for event in events] == [str(key) for key in range(1, 9)]
    assert {(event["signal"], event["to"]) for event in events} == {("post_save", TO)}
    assert events[0]["data"] == {"instance": {"id": 1, "name": "x"}, "is_update": False}
    assert {event["context"] for event in events} == {'{"backfill":true}'}
    assert [each.done for each in shop.advances] == [3, 6, 8]


async def test_a_receiver_gets_a_save_without_changes_whatever_it_waits_for(shop: Shop) -> None:
    """`changes` is None: nobody knows what has changed, so `when_changed` keeps nothing back."""
    await shop.fill(2)
    await shop.enlist("picky", "shop.Item.post_save")
    async with shop.bus.worker():
        assert (await shop.backfill()).events == 2
        assert (await shop.backfill(to="search/picky")).events == 2
        await shop.relay()
        await eventually(lambda: len(shop.calls) == 3, "the calls")
    calls = sorted((call["name"], call["instance"].id) for call in shop.calls)
    assert calls == [("index", 1), ("index", 2), ("picky", 2)], "`where=` decides by the row"
    for call in shop.calls:
        assert call["changes"] is None
        assert call["is_update"] is False
        assert call["event"].backfill is True
        assert call["event"].context == {}
        assert call["values"] == {"id": call["instance"].id, "name": "x"}


async def test_what_a_receiver_writes_is_no_backfill(shop: Shop) -> None:
    await shop.fill(1)

    @shop.bus.receiver("shop.Item", "post_save", name="writes", group="search")
    async def writes(sender: str, event: edgy.Event, **_: Any) -> None:
        if event.backfill:
            await shop.Word.query.create(text="written")

    await shop.enlist("writes", "shop.Item.post_save")
    async with shop.bus.worker():
        await shop.backfill(to="search/writes")
        await shop.relay()

        async def are_written() -> bool:
            return len(await shop.events()) == 2

        await eventually(are_written, "the event of the receiver's row")
    backfilled, written = await shop.events()
    assert (written["to"], written["context"]) == (None, None)
    assert written["causation"] == backfilled["event_id"]


@pytest.mark.parametrize("count", [1, 3, 4])
async def test_keys_of_all_usual_types_have_pages(shop: Shop, count: int) -> None:
    for _ in range(count):
        await shop.Note.query.create()
        await shop.Word.query.create(text=f"{count} {uuid.uuid4()} ä%'")
    await shop.database.run(outbox.delete())
    limits = Limits(rate=100_000.0, page=2)
    assert (await shop.backfill("Note", limits=limits)).events == count
    assert (await shop.backfill("Word", limits=limits)).events == count
    assert len({event["subject"] for event in await shop.events()}) == 2 * count


async def test_a_key_that_is_no_text_and_no_whole_number_is_refused(shop: Shop) -> None:
    await shop.Amount.query.create(value=1.5)
    with pytest.raises(ConfigurationError, match="not through keys of the type float"):
        await shop.backfill("Amount")


async def test_a_row_that_is_too_large_for_an_event_comes_without_its_large_fields(
    sqlite_url: str,
) -> None:
    shop = Shop(sqlite_url, max_bytes=1_500)
    shop.advances = []
    async with shop.bus:
        await shop.registry.create_all()
        await shop.enlist()
        await shop.database.run(shop.Item.meta.table.insert().values(name="x" * 2_000))
        assert (await shop.backfill()).events == 1
        (event,) = await shop.events()
    assert event["data"] == {"instance": {"id": 1}, "is_update": False, "omitted": ["name"]}


# Mistakes


@pytest.mark.parametrize(
    ("model", "to", "where", "text"),
    [
        ("Itm", TO, (), "no model 'Itm': did you mean 'shop.Item'?"),
        ("mail.Item", TO, (), "no model 'mail.Item'"),
        ("Quiet", TO, (), "shop.Quiet publishes no post_save"),
        ("Item", "search", (), "'search' is no receiver: write GROUP/RECEIVER"),
        ("Item", "/index", (), "'/index' is no receiver"),
        ("Item", "search/indx", (), "no receiver 'indx'; its receivers are: index, updates"),
        ("Item", "search/updates", (), "does not subscribe to shop.Item.post_save"),
        ("Item", "mail/index", (), "no group 'mail' has read a stream"),
        ("Item", TO, ("name",), "'name' is no condition: write FIELD=VALUE"),
        ("Item", TO, ("nme=x",), "Item has no field 'nme': did you mean 'name'?"),
        ("Item", TO, ("id=one",), "the given str is no value of int"),
    ],
)
async def test_a_mistake_is_named_before_anything_is_written(
    shop: Shop, model: str, to: str, where: tuple[str, ...], text: str
) -> None:
    await shop.fill(1)
    await shop.enlist("updates", "shop.Item.post_update")
    with pytest.raises(EdgyBusError) as caught:
        await shop.backfill(model, to, where=where)
    assert text in str(caught.value)
    assert isinstance(caught.value, ConfigurationError | OperationError)
    assert await shop.events() == []


async def test_a_bus_without_a_registry_has_no_rows() -> None:
    bus = edgy.Bus("memory://", service="search")
    async with bus.operating(databases=True) as parts:
        with pytest.raises(ConfigurationError, match="this bus has no registry"):
            await plan_backfill(parts, Order("Item", TO))


def test_a_bus_in_local_mode_has_no_workers_to_send_to() -> None:
    with pytest.raises(ConfigurationError, match="this bus is in local mode"):
        edgy.Bus().operating(databases=True)


@pytest.mark.parametrize(
    ("group", "report"),
    [
        ("search", b'{"protocol":2,"receivers":[]}'),
        ("search", b"a worker of another release"),
        ("mail", b'{"protocol":1,"receivers":[]}'),
    ],
)
async def test_a_worker_of_an_older_release_is_named(shop: Shop, group: str, report: bytes) -> None:
    """It would pass the events by, or give them to all of its receivers."""
    await shop.fill(1)
    await shop.broker.declare("shop.Item", 2)
    lease = await shop.broker.acquire(Partition("shop.Item", "0"), "mail", "w", 60)
    await shop.broker.fetch(lease, 1, inherit=False)
    await shop.broker.join(group, "old-1", 60, report)
    with pytest.raises(ConfigurationError, match=f"stop old-1 of {group}"):
        await shop.plan()
    await shop.broker.leave(group, "old-1")
    await shop.broker.join("mail", "new-1", 60, b'{"protocol":2,"receivers":[]}')
    await shop.broker.join("unrelated", "old-1", 60, b'{"protocol":1,"receivers":[]}')
    assert (await shop.plan()).rows == 1


async def test_an_outbox_without_tables_is_explained(sqlite_url: str) -> None:
    shop = Shop(sqlite_url)
    with pytest.raises(ConfigurationError, match="Start the service once"):
        await shop.plan()


# Bounds


async def test_live_events_do_not_wait_behind_thousands(shop: Shop) -> None:
    await shop.fill(9)
    running = asyncio.create_task(shop.backfill(limits=Limits(rate=100_000.0, page=2, pending=3)))
    await eventually(lambda: shop.waits, "the wait")
    assert shop.waits[0] == "4 events in the outbox wait for a relay"
    assert len(await shop.events()) == 4
    (relay,) = shop.bus.relays()
    async with relay:
        assert (await running).events == 9


async def test_events_wait_while_the_receiver_is_behind(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.operations.addressed.LOOK_EVERY", 0.0)
    for _ in range(5):
        await shop.Item.query.create()
    await shop.relay()
    running = asyncio.create_task(shop.backfill(limits=Limits(rate=100_000.0, page=2, behind=4)))
    await eventually(lambda: shop.waits, "the wait")
    assert shop.waits[0] == "search/index has 5 events to finish"
    assert len(await shop.events()) == 5
    async with shop.bus.worker():
        assert (await running).events == 5


async def test_redis_may_be_away_while_a_backfill_runs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.operations.addressed.LOOK_EVERY", 0.0)
    await shop.fill(5)
    plan = await shop.plan()
    survey, answers = shop.broker.declared, iter([False, True, False])

    async def declared() -> Any:
        # Asked once before the backfill begins.
        if next(answers, False):
            raise BrokerUnavailable("away")
        return await survey()

    monkeypatch.setattr(shop.broker, "declared", declared)
    async with shop.bus.operating(databases=True) as parts:
        assert (await backfill(parts, plan, FAST, shop.report)).events == 5
    assert shop.waits == ["Redis does not answer: away"]


async def test_a_page_that_lost_at_its_end_is_written_again_as_a_whole(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.fill(7)
    advance, lost = ProgressStore.advance, iter([False, True])

    async def lose(self: ProgressStore, *arguments: str) -> bool:
        if next(lost, False):
            raise TryAgain("a deadlock")
        return await advance(self, *arguments)

    monkeypatch.setattr(ProgressStore, "advance", lose)
    assert (await shop.backfill()).events == 7
    assert shop.waits == [LOCKED]
    assert [event["subject"] for event in await shop.events()] == [str(key) for key in range(1, 8)]


async def test_nothing_is_sent_before_every_partition_knows_the_receiver(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new receiver begins with events to come; what comes before that passes it by."""
    await shop.fill(3)
    partition = Partition("shop.Item", "1")
    await shop.broker.declare("shop.Item", 2)
    lease = await shop.broker.acquire(partition, "search", "w", 60)
    listed = Listed(("shop.Item.post_save",), "now", since=0.0, seen=0.0)
    await shop.broker.arrange(lease, {"other": listed}, {})
    plan = await shop.plan()
    assert plan.strangers == ("shop.Item:1",)
    strangers_to, asked = shop.broker.strangers_to, []

    async def ask(*arguments: Any) -> Any:
        asked.append(arguments)
        return await strangers_to(*arguments)

    monkeypatch.setattr(shop.broker, "strangers_to", ask)
    running = asyncio.create_task(shop.backfill())
    await eventually(
        lambda: len(asked) == 4 or running.done(), "three looks after that of the plan"
    )
    assert await shop.events() == []
    await shop.broker.arrange(lease, {"other": listed, "index": listed}, {})
    assert (await running).events == 3
    await shop.broker.arrange(lease, {"other": listed}, {}, ["index"])
    monkeypatch.setattr("edgy_bus.operations.recipients._PATIENCE", 0.0)
    with pytest.raises(ConfigurationError, match="do not know the receiver search/index yet"):
        await shop.backfill()


# Unfinished backfills


async def interrupted(shop: Shop, **order: Any) -> None:
    """Leave a backfill that has written one page."""
    # The rest of the time of the first page is ten seconds.
    running = asyncio.create_task(shop.backfill(limits=Limits(rate=0.1, page=1), **order))

    async def has_begun() -> bool:
        async with shop.bus.operating(databases=True) as parts:
            return any(each.done for each in await unfinished_backfills(parts))

    await eventually(has_begun, "the first page")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_backfill_goes_on_with_its_own_conditions(shop: Shop) -> None:
    await shop.fill(6)
    await interrupted(shop, where=("id__gte=3",))
    with pytest.raises(ConfigurationError, match=r"has other rows \(id__gte=3\)"):
        await shop.plan(where=("id__gte=4",), course="resume")
    plan = await shop.plan(course="resume")
    assert (plan.where, plan.rows, plan.done) == (("id__gte=3",), 4, 1)
    await shop.backfill(course="resume")
    assert [event["subject"] for event in await shop.events()] == ["3", "4", "5", "6"]


async def test_a_backfill_may_begin_anew(shop: Shop) -> None:
    await shop.fill(3)
    await interrupted(shop)
    with pytest.raises(ConfigurationError, match=r"1 of 3 rows are sent\. Continue with --resume"):
        await shop.plan()
    done = await shop.backfill(course="restart", where=("id=3",))
    assert (done.events, done.total) == (1, 1)
    assert [event["subject"] for event in await shop.events()] == ["1", "3"]


async def test_of_two_that_begin_at_once_one_goes_on(shop: Shop) -> None:
    await shop.fill(4)
    plan = await shop.plan()
    async with shop.bus.operating(databases=True) as parts:
        # Slow enough that neither ends before the other begins.
        slow = Limits(rate=10.0, page=2)
        ended = await asyncio.gather(
            backfill(parts, plan, slow), backfill(parts, plan, slow), return_exceptions=True
        )
    (refused,) = [each for each in ended if isinstance(each, ActionStopped)]
    assert "another process has gone on with the backfill" in str(refused)
    assert [event["subject"] for event in await shop.events()] == ["1", "2", "3", "4"]


async def test_a_backfill_that_stands_is_a_finding_of_the_doctor(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def codes() -> list[str]:
        async with shop.bus.operating(databases=True) as parts:
            findings = (await doctor(parts, seconds=0)).findings
        return [each.code for each in findings if each.code.startswith("backfill")]

    await shop.fill(2)
    await interrupted(shop)
    assert await codes() == []
    monkeypatch.setattr("edgy_bus.operations.diagnosis.UNMOVED", -60.0)
    assert await codes() == ["backfill.stands"]
    await shop.backfill(course="resume")
    assert await codes() == []


async def test_an_entry_that_somebody_has_edited_is_named(shop: Shop) -> None:
    await shop.fill(2)
    await interrupted(shop)
    edited = meta.update().where(meta.c.name.startswith("backfill."))
    (row,) = (await shop.database.run(meta.select().where(meta.c.name.startswith("back")))).rows
    timeless = row["value"].replace('"moved":"2', '"moved":"x')
    for text in ("{", "[]", '{"where":1}', "{}", timeless):
        await shop.database.run(edited.values(value=text))
        with pytest.raises(ConfigurationError, match="delete the entry, and begin anew"):
            await shop.plan(course="resume")
    async with shop.bus.operating(databases=True) as parts:
        with pytest.raises(ConfigurationError, match="delete the entry, and begin anew"):
            await unfinished_backfills(parts)


async def test_without_a_row_nothing_is_left_behind(shop: Shop) -> None:
    assert (await shop.backfill()).total == 0
    async with shop.bus.operating(databases=True) as parts:
        assert await unfinished_backfills(parts) == ()
