"""Querysets on SQLite and on PostgreSQL, and what receivers and the bus hear of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.errors import IntegrityError, OperationError
from edgy_bus.models import reading
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import writes
from tests.integration.service import Service
from tests.unit.models import listen


class Shop(Service):
    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database)
        own = self.registry

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50, unique=True)
            stock: int | None = edgy.IntegerField(null=True)
            secret: str = edgy.CharField(max_length=20, secret=True, default="")

            class Meta:
                registry = own

        self.Item: Any = Item

    async def fill(self, count: int) -> list[Any]:
        made = await self.Item.query.bulk_create(
            {"name": f"i{n}", "stock": n} for n in range(count)
        )
        await self.database.run(outbox.delete())
        return list(made)

    async def events(self) -> list[tuple[str, str, Any]]:
        rows = await self.outbox()
        return [(row["signal"], row["subject"], row["data"].get("changes")) for row in rows]


@pytest.fixture
async def shop(database: edgy.Database) -> AsyncIterator[Shop]:
    async with Shop(database).running() as shop:
        yield shop


async def test_the_last_is_the_first_of_the_order_turned_round(shop: Shop) -> None:
    await shop.fill(3)
    query = shop.Item.query
    assert (await query.last()).name == "i2"
    assert (await query.order_by("-stock").last()).name == "i0"
    assert (await query.order_by("stock", "-name").last()).name == "i2"
    assert await query.filter(name="x").last() is None
    with pytest.raises(OperationError, match="take the last of"):
        await query.limit(1).last()


async def test_what_is_not_there_is_told_by_either_name(shop: Shop) -> None:
    for error in (edgy.ObjectNotFound, edgy.DoesNotExist):
        with pytest.raises(error, match="no Item with name"):
            await shop.Item.query.get(name="nobody")


async def test_values_are_dicts_and_tuples(shop: Shop) -> None:
    await shop.fill(2)
    query = shop.Item.query.order_by("id")
    assert await query.values("name", "stock") == [
        {"name": "i0", "stock": 0},
        {"name": "i1", "stock": 1},
    ]
    assert (await query.values())[0] == {"id": 1, "name": "i0", "stock": 0, "secret": ""}
    assert await query.values_list("stock", "name") == [(0, "i0"), (1, "i1")]
    assert await query.values_list("name", flat=True) == ["i0", "i1"]
    assert await query.values_list("pk", flat=True) == [1, 2]
    for wrong in (("name", "stock"), ()):
        with pytest.raises(OperationError, match="takes one field"):
            await query.values_list(*wrong, flat=True)
    with pytest.raises(OperationError, match="has no field 'nmae'"):
        await query.values("nmae")


async def test_iteration_reads_pages_and_holds_no_transaction(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PAGE", 3)
    await shop.fill(10)
    seen = []
    async for item in shop.Item.query.filter(stock__gte=1).order_by("-stock"):
        assert not shop.database.in_transaction
        if item.stock == 9:
            await shop.Item.query.filter(stock=5).delete()
        seen.append(item.stock)
    assert seen == [9, 8, 7, 6, 4, 3, 2, 1]
    assert [item.stock async for item in shop.Item.query.limit(4).offset(2)] == [2, 3, 4, 6]


# Which operation sends what


async def test_get_or_create_says_which_it_did_and_sends_accordingly(shop: Shop) -> None:
    first, created = await shop.Item.query.get_or_create({"stock": 5}, name="a")
    assert (created, first.stock) == (True, 5)
    again, created = await shop.Item.query.get_or_create({"stock": 9}, name="a")
    assert (created, again.stock) == (False, 5)
    assert [signal for signal, _, _ in await shop.events()] == ["post_save"]


async def test_get_or_create_at_the_same_moment_creates_once(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.Item.query.get_or_create(name="a") for _ in range(8)))
    assert len({one.pk for one, _ in answers}) == 1
    assert [created for _, created in answers].count(True) == 1
    assert [signal for signal, _, _ in await shop.events()] == ["post_save"]


async def test_get_or_create_does_not_hide_another_constraint(shop: Shop) -> None:
    await shop.Item.query.create(name="a", stock=1)
    with pytest.raises(IntegrityError):
        await shop.Item.query.get_or_create({"name": "a"}, stock=2)


async def test_update_or_create_sends_an_update_or_a_save(shop: Shop) -> None:
    _, created = await shop.Item.query.update_or_create({"stock": 1}, name="a")
    assert created
    changed, created = await shop.Item.query.update_or_create({"stock": 2}, name="a")
    assert (created, changed.stock) == (False, 2)
    assert await shop.events() == [
        ("post_save", "1", None),
        ("post_update", "1", {"stock": {"old": 1, "new": 2}}),
    ]


async def test_update_or_create_is_all_or_nothing(shop: Shop) -> None:
    await shop.Item.query.create(name="a")
    await shop.Item.query.create(name="b")
    await shop.database.run(outbox.delete())
    with pytest.raises(IntegrityError):
        await shop.Item.query.update_or_create({"name": "b"}, name="a")
    assert await shop.events() == []


async def test_an_update_of_a_set_tells_the_old_and_the_new_of_every_row(shop: Shop) -> None:
    await shop.fill(3)
    assert await shop.Item.query.filter(stock__gte=1).update(stock=7) == 2
    assert await shop.events() == [
        ("post_update", "2", {"stock": {"old": 1, "new": 7}}),
        ("post_update", "3", {"stock": {"old": 2, "new": 7}}),
    ]


async def test_what_an_update_of_a_set_leaves_as_it_was_is_no_change(shop: Shop) -> None:
    await shop.fill(2)
    await shop.Item.query.update(stock=1)
    assert [changes for _, _, changes in await shop.events()] == [
        {"stock": {"old": 0, "new": 1}},
        {},
    ]


async def test_updates_of_a_set_at_the_same_moment_tell_what_really_was(shop: Shop) -> None:
    await shop.fill(3)
    await asyncio.gather(*(shop.Item.query.update(stock=100 + number) for number in range(6)))
    for row in ("1", "2", "3"):
        changes = [one["stock"] for _, subject, one in await shop.events() if subject == row]
        assert len(changes) == 6
        olds = [int(row) - 1, *(one["new"] for one in changes[:-1])]
        assert [one["old"] for one in changes] == olds


async def test_a_bulk_update_writes_the_fields_and_tells_of_every_row(shop: Shop) -> None:
    items = await shop.fill(3)
    calls = listen(shop.Item, "pre_update")
    for item in items:
        item.stock += 10
        item.name += "!"
        item.secret = "s"
    assert await shop.Item.query.bulk_update(items, ["stock", "secret"]) == 3
    assert await shop.Item.query.order_by("id").values_list("name", "stock", "secret") == [
        ("i0", 10, "s"),
        ("i1", 11, "s"),
        ("i2", 12, "s"),
    ]
    assert [changes for _, _, changes in await shop.events()] == [
        {"stock": {"old": n, "new": n + 10}} for n in range(3)
    ]
    assert len(calls) == 1
    assert await shop.Item.query.bulk_update([], ["stock"]) == 0


async def test_a_bulk_update_is_all_or_nothing(shop: Shop) -> None:
    items = await shop.fill(3)
    for item in items:
        item.name = "same"
    with pytest.raises(IntegrityError):
        await shop.Item.query.bulk_update(items, ["name"])
    assert await shop.Item.query.order_by("id").values_list("name", flat=True) == ["i0", "i1", "i2"]
    assert await shop.events() == []


async def test_bulk_create_tells_the_new_keys(shop: Shop) -> None:
    made = await shop.Item.query.bulk_create({"name": f"i{n}"} for n in range(1_000))
    assert sorted(one.pk for one in made) == list(range(1, 1_001))
    events = await shop.events()
    assert [signal for signal, _, _ in events] == ["post_save"] * 1_000
    assert {int(subject) for _, subject, _ in events} == set(range(1, 1_001))


async def test_a_large_set_is_updated_with_an_event_for_every_row(shop: Shop) -> None:
    await shop.fill(5_000)
    assert await shop.Item.query.update(stock=1) == 5_000
    assert len(await shop.events()) == 5_000


async def test_a_set_is_changed_page_by_page_and_all_or_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "PAGE", 3)
    await shop.fill(10)
    calls = listen(shop.Item, "post_update", local=True)
    most: list[int] = []
    append = OutboxStore.append

    async def noted(self: OutboxStore, rows: Any) -> None:
        most.append(len(rows))
        await append(self, rows)

    monkeypatch.setattr(OutboxStore, "append", noted)
    assert await shop.Item.query.filter(stock__gte=1).update(stock=50) == 9
    assert most == [3, 3, 3]
    assert [changes["stock"]["old"] for _, _, changes in await shop.events()] == list(range(1, 10))
    assert calls[0].kwargs["keys"] == list(range(2, 11))
    assert calls[0].kwargs["row_count"] == 9

    async def fails_at_the_second_page(self: OutboxStore, rows: Any) -> None:
        if len(most) == 4:
            raise RuntimeError
        await noted(self, rows)

    await shop.database.run(outbox.delete())
    monkeypatch.setattr(OutboxStore, "append", fails_at_the_second_page)
    with pytest.raises(RuntimeError):
        await shop.Item.query.delete()
    assert await shop.Item.query.count() == 10
    assert await shop.events() == []
