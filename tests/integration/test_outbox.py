"""What the outbox holds after an operation, on SQLite (two statements) and on PostgreSQL (one)."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.errors import EventError, IntegrityError, ObjectNotFound
from edgy_bus.events import partition_number
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.table import outbox, pending
from edgy_bus.settings import EventSettings


class Shop:
    """A service whose outbox nobody empties."""

    def __init__(self, database: edgy.Database) -> None:
        self.database = database
        self.bus = edgy.Bus(
            "memory://", service="shop", relay=False, events=EventSettings(max_bytes=1_000)
        )
        own = self.registry = edgy.Registry(database, bus=self.bus)

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

    async def events(self) -> list[dict[str, Any]]:
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        return [{**row, "data": loads(row["data"])} for row in rows]

    async def told(self) -> list[tuple[str, str]]:
        return [(event["signal"], event["subject"]) for event in await self.events()]


@pytest.fixture
async def shop(database: edgy.Database) -> AsyncIterator[Shop]:
    one = Shop(database)
    async with one.bus:
        await one.registry.create_all()
        yield one


async def test_the_event_tells_of_the_row_and_of_what_changed(shop: Shop) -> None:
    item = await shop.Item.query.create(name="a", secret="s3cret")
    await item.update(stock=2, secret="s3cret2")
    item.name = "b"
    await item.save()
    await item.delete()
    created, updated, saved, deleted = await shop.events()
    row = {"id": 1, "name": "a", "stock": 0}
    assert created["data"] == {"instance": row, "is_update": False}
    assert updated["data"] == {
        "instance": {**row, "stock": 2},
        "is_update": True,
        "changes": {"stock": {"old": 0, "new": 2}},
    }
    assert saved["data"] == {
        "instance": {"id": 1, "name": "b", "stock": 2},
        "is_update": True,
        "changes": {"name": {"old": "a", "new": "b"}},
    }
    assert deleted["data"] == {"instance": {"id": 1, "name": "b", "stock": 2}, "is_update": False}
    assert "s3cret" not in str(await shop.events())


async def test_every_kind_of_key_finds_its_partition(shop: Shop) -> None:
    token = await shop.Token.query.create()
    await shop.Place.query.create(code="Zürich 🦄 'x'")
    for _ in range(20):
        await shop.Item.query.create(name=uuid.uuid4().hex)
    events = await shop.events()
    assert (events[0]["subject"], events[1]["subject"]) == (str(token.key), "Zürich 🦄 'x'")
    for event in events:
        assert event["label"] == str(partition_number(event["subject"], 8))
        assert event["created"] > 1_700_000_000_000
    assert [row["id"] for row in (await shop.database.run(select(pending))).rows] == [
        event["id"] for event in events
    ]


async def test_a_single_row_and_its_event_are_one_statement_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: OutboxStore, rows: Any) -> None:
        raise AssertionError("the event was a statement of its own")

    shop = Shop(edgy.Database(postgres_url))
    async with shop.bus:
        await shop.registry.create_all()
        monkeypatch.setattr(OutboxStore, "append", never)
        item = await shop.Item.query.create(name="a")
        await item.update(stock=1)
        await item.delete()
        await shop.Token.query.create()
        await shop.Place.query.create(code="x")
        assert len(await shop.events()) == 5


async def test_an_event_that_is_too_large_is_refused_and_nothing_is_written(shop: Shop) -> None:
    with pytest.raises(EventError, match=r"shop.Item.post_save.* more than the 1,000 bytes"):
        await shop.Item.query.create(name="x" * 1_000)
    item = await shop.Item.query.create(name="x")
    with pytest.raises(EventError, match=r"shop.Item.post_update.* more than the 1,000 bytes"):
        await item.update(name="ü" * 500)
    assert [one.name for one in await shop.Item.query] == ["x"]
    assert await shop.told() == [("post_save", str(item.id))]


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
    """Writers of one row at the same moment: the event with the greater number saw the later state."""
    item = await shop.Item.query.create(name="a")

    async def write(number: int) -> None:
        one = await shop.Item.query.get(pk=item.id)
        await one.update(stock=number)

    await asyncio.gather(*(write(number) for number in range(1, 31)))
    last = (await shop.Item.query.get(pk=item.id)).stock
    events = await shop.events()
    assert len(events) == 31
    assert events[-1]["data"]["instance"]["stock"] == last
