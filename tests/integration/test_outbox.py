"""The outbox after an operation: on SQLite (several statements) and on PostgreSQL (one)."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.errors import DatabaseError, EventError, IntegrityError, ObjectNotFound
from edgy_bus.events import Event, partition_number
from edgy_bus.origin import context
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.table import pending
from edgy_bus.settings import EventSettings
from tests.integration.service import Service
from tests.unit.models import listen


class Shop(Service):
    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database, events=EventSettings(max_bytes=1_000))
        own = self.registry

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.TextField(unique=True)
            stock: int = edgy.IntegerField(default=0)
            secret: str = edgy.CharField(max_length=20, secret=True, default="")

            class Meta:
                registry = own

        class Token(edgy.Model):
            key: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                registry = own

        class Place(edgy.Model):
            code: str = edgy.CharField(max_length=50, primary_key=True)

            class Meta:
                registry = own

        self.Item: Any = Item
        self.Token: Any = Token
        self.Place: Any = Place

    async def told(self) -> list[tuple[str, str]]:
        return [(event["signal"], event["subject"]) for event in await self.outbox()]


@pytest.fixture
async def shop(database: edgy.Database) -> AsyncIterator[Shop]:
    async with Shop(database).running() as shop:
        yield shop


async def test_the_event_tells_of_the_row_and_of_what_changed(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a", secret="s3cret")
    await item.update(stock=2, secret="s3cret2")
    item.name = "b"
    await item.save()
    await item.delete()
    created, updated, saved, deleted = await shop.outbox()
    row = {"id": 1, "name": "a", "stock": 0}
    assert created["data"] == {"instance": row, "is_update": False}
    assert updated["data"] == {
        "instance": {**row, "stock": 2},
        "is_update": True,
        "assigned": ["stock"],
        "changes": {"stock": {"old": 0, "new": 2}},
    }
    assert saved["data"] == {
        "instance": {"id": 1, "name": "b", "stock": 2},
        "is_update": True,
        "changes": {"name": {"old": "a", "new": "b"}},
    }
    assert deleted["data"] == {"instance": {"id": 1, "name": "b", "stock": 2}, "is_update": False}
    assert "s3cret" not in str(await shop.outbox())
    assert {event["source"] for event in await shop.outbox()} == {"shop"}


async def test_events_of_sets_and_custom_signals_name_their_service(shop: Shop) -> None:
    await shop.Item.query.bulk_create([{"name": "a"}, {"name": "b"}])
    await shop.Item.query.update(stock=1)
    item = await shop.Item.query.get(name="a")
    await shop.Item.query.filter(name="b").delete()
    shop.Item.meta.signals.checked = edgy.Signal()
    await shop.Item.meta.signals.checked.send(shop.Item, instance=item)
    events = await shop.outbox()
    assert len(events) >= 6
    assert {event["source"] for event in events} == {"shop"}


async def test_every_kind_of_key_finds_its_partition(shop: Shop) -> None:
    token = await shop.Token.query.create()
    await shop.Place.query.create(code="Zürich 🦄 'x'")
    for _ in range(20):
        await shop.Item.query.create(name=uuid.uuid4().hex)
    events = await shop.outbox()
    assert (events[0]["subject"], events[1]["subject"]) == (str(token.key), "Zürich 🦄 'x'")
    for event in events:
        assert event["label"] == str(partition_number(event["subject"], 8))
        assert event["created"] > 1_700_000_000_000
    assert [row["id"] for row in (await shop.database.run(select(pending))).rows] == [
        event["id"] for event in events
    ]


class Counted:
    """The statements of a database, while the context is open."""

    def __init__(self, database: edgy.Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        run = database.run

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            return await run(*arguments)

        monkeypatch.setattr(database, "run", counted)


async def test_a_single_row_and_its_event_are_one_statement_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: OutboxStore, rows: Any) -> None:
        raise AssertionError("the event was a statement of its own")

    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()
        monkeypatch.setattr(OutboxStore, "append", never)
        statements = Counted(shop.database, monkeypatch)
        item = await shop.Item.query.create(name="a")
        await item.update(stock=1)
        await item.save()
        await item.update(secret="alone")
        await item.delete()
        await shop.Token.query.create()
        await shop.Place.query.create(code="x")
        assert statements.count == 7
        assert len(await shop.outbox()) == 7


async def test_old_values_for_local_receivers_cost_no_statement_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(edgy.Database(postgres_url))
    calls = listen(shop.Item, "post_update", local=True)
    async with shop.bus:
        await shop.registry.create_all()
        item = await shop.Item.query.create(name="a")
        await shop.Item.query.update(stock=1)
        statements = Counted(shop.database, monkeypatch)
        await item.update(stock=2, secret="hidden")
        assert statements.count == 1
    assert calls[-1].kwargs["changes"] == {"stock": {"old": 1, "new": 2}}
    assert item.stock == 2
    assert set(item.__dict__) == set(shop.Item.meta.fields)


async def test_an_event_that_is_too_large_is_refused_and_nothing_is_written(shop: Shop) -> None:
    with pytest.raises(EventError, match=r"shop.Item.post_save.* more than the 1,000 bytes"):
        await shop.Item.query.create(name="x" * 1_000)
    item = await shop.Item.query.create(name="x")
    with pytest.raises(EventError, match=r"shop.Item.post_update.* more than the 1,000 bytes"):
        await item.update(name="ü" * 500)
    assert [one.name for one in await shop.Item.query] == ["x"]
    assert await shop.told() == [("post_save", str(item.id))]


async def test_an_event_that_is_too_large_spoils_no_more_than_its_own_change(shop: Shop) -> None:
    """The caller's transaction goes on on SQLite; on PostgreSQL, any failed statement ends it."""
    item = await shop.Item.query.create(name="x")
    try:
        async with shop.database.transaction():
            await item.update(stock=1)
            with pytest.raises(EventError, match="more than the 1,000 bytes"):
                await item.update(name="x" * 1_000)
    except DatabaseError:
        assert shop.database.dialect.name == "postgresql"
        expected = [("x", 0)]
    else:
        assert shop.database.dialect.name == "sqlite"
        expected = [("x", 1)]
    assert await shop.Item.query.values_list("name", "stock") == expected
    assert len(await shop.outbox()) == 1 + expected[0][1]


async def test_a_page_with_an_event_that_is_too_large_is_refused_as_a_whole(shop: Shop) -> None:
    await shop.Item.query.bulk_create([{"name": "a"}, {"name": "b"}])
    with pytest.raises(EventError, match=r"post_update of '1' has \d,\d+ bytes, more than"):
        await shop.Item.query.filter(pk=1).update(name="x" * 1_000)
    with pytest.raises(EventError, match=r"post_save of '4' has \d,\d+ bytes, more than"):
        await shop.Item.query.bulk_create([{"name": "c"}, {"name": "x" * 1_000}])
    assert await shop.Item.query.order_by("id").values_list("name", flat=True) == ["a", "b"]
    assert len(await shop.outbox()) == 2


async def test_the_limit_holds_for_the_row_as_it_was_stored(postgres_url: str) -> None:
    """Neither the parameters nor the error of a trigger decides."""
    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()
        await shop.database.script(
            "CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "NEW.name := CASE NEW.name WHEN 'grow' THEN repeat('x', 2000) "
            "WHEN 'zero' THEN (1 / NEW.stock)::text WHEN 'null' THEN NULL ELSE NEW.name END; "
            "RETURN NEW; END $$;"
        )
        await shop.database.script(
            "CREATE TRIGGER grow BEFORE INSERT OR UPDATE ON items "
            "FOR EACH ROW EXECUTE FUNCTION grow();"
        )
        item = await shop.Item.query.create(name="small")
        with pytest.raises(EventError, match="post_save has more than the 1,000 bytes"):
            await shop.Item.query.create(name="grow")
        with pytest.raises(EventError, match="post_update of '1' has more than the 1,000 bytes"):
            await item.update(name="grow")
        with pytest.raises(IntegrityError):
            await item.update(name="null")
        with pytest.raises(DatabaseError, match="division by zero"):
            await item.update(name="zero")
        assert await shop.Item.query.values_list("name", flat=True) == ["small"]
        assert await shop.told() == [("post_save", "1")]
        assert len((await shop.database.run(select(pending))).rows) == 1


async def test_every_event_carries_the_trace_of_its_caller(shop: Shop) -> None:
    span = SpanContext(7, 9, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    header = f"00-{7:032x}-{9:016x}-01"
    announced: list[Event] = []
    writer: Any = shop.registry.writer
    writer._announcer.put = lambda make: announced.append(make())
    shop.Item.meta.signals.on_count = edgy.Signal()
    with trace.use_span(NonRecordingSpan(span)):
        item = await shop.Item.query.create(name="a")
        await item.update(stock=2)
        await shop.Item.query.bulk_create([{"name": "b"}, {"name": "c"}])
        await shop.Item.query.update(stock=3, expand=False)
        await shop.Item.meta.signals.on_count.send(shop.Item, item)
    await item.delete()
    traces = [event["traceparent"] for event in await shop.outbox()]
    assert traces == [header] * 6 + [None]
    assert [event.traceparent for event in announced] == [header] * 4 + [None]


async def test_every_event_carries_the_context_of_its_caller(shop: Shop) -> None:
    announced: list[Event] = []
    writer: Any = shop.registry.writer
    writer._announcer.put = lambda make: announced.append(make())
    shop.Item.meta.signals.on_count = edgy.Signal()
    with context(actor="ada", admin=True):
        item = await shop.Item.query.create(name="a")
        await item.update(stock=2)
        await shop.Item.query.bulk_create([{"name": "b"}, {"name": "c"}])
        await shop.Item.query.update(stock=3, expand=False)
        await shop.Item.meta.signals.on_count.send(shop.Item, item)
    await item.delete()
    stored = [(event["causation"], event["context"]) for event in await shop.outbox()]
    assert stored == [(None, '{"actor":"ada","admin":true}')] * 6 + [(None, None)]
    assert [event.context for event in announced] == [{"actor": "ada", "admin": True}] * 4 + [{}]


async def test_rollbacks_take_the_events_along(shop: Shop) -> None:
    with pytest.raises(RuntimeError):
        async with shop.database.transaction():
            await shop.Item.query.create(name="never")
            raise RuntimeError
    async with shop.database.transaction():
        item = await shop.Item.query.create(name="stays")
        with pytest.raises(RuntimeError):
            async with shop.database.transaction():
                await item.update(name="never")
                raise RuntimeError
    assert await shop.told() == [("post_save", str(item.id))]


async def test_a_row_that_is_refused_or_gone_leaves_no_event(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a")
    with pytest.raises(IntegrityError):
        await shop.Item.query.create(name="a")
    await shop.Item.query.filter(id=item.id).delete()
    with pytest.raises(ObjectNotFound):
        await item.update(name="b")
    assert await item.delete() == 0
    assert await shop.told() == [("post_save", "1"), ("post_delete", "1")]


async def test_numbers_of_a_row_rise_in_the_order_of_its_changes(shop: Shop) -> None:
    """Writers of one row at the same moment: the greater number belongs to the later state."""
    item = await shop.Item.query.create(name="a")

    async def write(number: int) -> None:
        one = await shop.Item.query.get(pk=item.id)
        await one.update(stock=number)

    await asyncio.gather(*(write(number) for number in range(1, 31)))
    last = (await shop.Item.query.get(pk=item.id)).stock
    events = await shop.outbox()
    assert len(events) == 31
    assert events[-1]["data"]["instance"]["stock"] == last
