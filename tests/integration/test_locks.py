"""One rule of locking on PostgreSQL, for rows, sets, bulks and signals alike.

Rows are locked in the order of their keys, so operations of all kinds wait for each other and never
for ever. A lock does not block inserts of child rows unless rows are deleted or a key is assigned.
Old values are read under that lock.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.outbox.table import outbox
from tests.support import eventually
from tests.unit.models import listen

ROWS = 40


class Shop:
    """A service on PostgreSQL whose outbox nobody empties."""

    def __init__(self, url: str, publish: tuple[str, ...] = ("*",)) -> None:
        self.database = edgy.Database(url, max_size=12)
        self.bus = edgy.Bus("memory://", service="shop", relay=False, publish=publish)
        own = self.registry = edgy.Registry(self.database, bus=self.bus)

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50, unique=True)
            stock: int = edgy.IntegerField(default=0)

            class Meta:
                registry = own

        class Label(edgy.Model):
            code: str = edgy.CharField(max_length=50, primary_key=True)
            text: str = edgy.CharField(max_length=50, default="")

            class Meta:
                registry = own

        Item.meta.signals.on_count = edgy.Signal()
        self.Item: Any = Item
        self.Label: Any = Label

    async def fill(self, count: int) -> list[Any]:
        rows = [{"id": key, "name": f"i{key}"} for key in range(1, count + 1)]
        items = await self.Item.query.bulk_create(rows)
        await self.database.run(outbox.delete())
        return list(items)

    async def changes(self) -> list[Any]:
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        return [loads(row["data"]).get("changes") for row in rows]


@pytest.fixture
async def shop(postgres_url: str) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url)
    async with shop.bus:
        await shop.registry.create_all()
        yield shop


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[Any]:
    """Connect another program, which sees the same tables."""
    plain, _, schema = postgres_url.partition("?schema=")
    connection = await asyncpg.connect(plain, server_settings={"search_path": schema})
    yield connection
    await connection.close()


# The order of keys


def operations(shop: Shop) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return operations of all kinds that touch the same rows, each in an order of its own."""
    query = shop.Item.query

    async def shuffled() -> list[Any]:
        items = [item async for item in query]
        random.shuffle(items)
        return items

    async def bulk_update() -> None:
        items = await shuffled()
        for item in items:
            item.stock += 1
        await query.bulk_update(items, ["stock"])

    async def bulk_update_of_names() -> None:
        items = await shuffled()
        await query.bulk_update(items, ["name"])

    async def rows_one_by_one() -> None:
        for item in (await shuffled())[:5]:
            with suppress(edgy.ObjectNotFound):  # deleted and inserted again during the wait
                await item.update(stock=item.stock + 1)
                await item.save()

    async def signals() -> None:
        for item in (await shuffled())[:5]:
            await shop.Item.meta.signals.on_count.send(shop.Item, item)

    async def muted() -> None:
        with shop.Item.meta.signals.post_update.muted():
            await query.filter(stock__gte=0).update(stock=1)
            items = await shuffled()
            await query.bulk_update(items, ["stock"])

    async def delete_and_insert() -> None:
        items = (await shuffled())[:5]
        async with shop.database.transaction():
            await query.filter(pk__in=[item.pk for item in items]).delete()
            await query.bulk_create(items)

    return {
        "bulk_update": bulk_update,
        "bulk_update of a unique column": bulk_update_of_names,
        "update of a set": lambda: query.update(stock=2),
        "update of a set, turned round": lambda: query.order_by("-id").update(stock=3),
        "update of a set with one event": lambda: query.update(stock=4, expand=False),
        "rows": rows_one_by_one,
        "signals": signals,
        "muted": muted,
        "delete and insert": delete_and_insert,
    }


async def shake(shop: Shop) -> None:
    """Change the heap's order of rows, so that a scan meets the rows in no order of keys."""
    keys = list(range(1, ROWS + 1))
    random.shuffle(keys)
    with shop.Item.meta.signals.post_update.muted():
        for key in keys:
            await shop.Item.query.filter(pk=key).update(stock=0)


@pytest.mark.parametrize("publish", [("*",), ()], ids=["published", "not published"])
async def test_operations_of_all_kinds_on_the_same_rows_never_lock_each_other_out(
    postgres_url: str, publish: tuple[str, ...]
) -> None:
    shop = Shop(postgres_url, publish)
    async with shop.bus:
        await shop.registry.create_all()
        await shop.fill(ROWS)
        await shake(shop)
        kinds = operations(shop)

        async def repeat(operation: Callable[[], Awaitable[Any]]) -> None:
            for _ in range(8):
                await operation()

        async with asyncio.TaskGroup() as group:
            for operation in kinds.values():
                group.create_task(repeat(operation))
        assert await shop.Item.query.count() == ROWS


async def test_bulk_inserts_of_the_same_keys_in_opposite_orders_do_not_lock_each_other_out(
    shop: Shop,
) -> None:
    codes = [f"c{number}" for number in range(1_200)]

    async def insert(order: list[str]) -> str:
        try:
            await shop.Label.query.bulk_create([{"code": code} for code in order])
        except edgy.IntegrityError:
            return "refused"
        return "inserted"

    for _ in range(3):
        results = await asyncio.gather(insert(codes), insert(codes[::-1]))
        assert sorted(results) == ["inserted", "refused"]
        await shop.Label.query.delete()


async def test_the_database_decides_on_the_order_of_text_keys(shop: Shop) -> None:
    """Sets lock in the order of the database's collation; bulk updates lock in the same order."""
    codes = list("aBcDäZzÉe_-0fghijklmnop")
    labels = await shop.Label.query.bulk_create([{"code": code} for code in codes])

    async def bulk() -> None:
        for _ in range(15):
            random.shuffle(labels)
            await shop.Label.query.bulk_update(labels, ["text"])

    async def sets() -> None:
        for _ in range(15):
            await shop.Label.query.update(text="x")

    await asyncio.gather(bulk(), sets(), bulk())


# The strength of locks

Probe = Callable[[], Awaitable[bool]]


@pytest.fixture
def blocks_children(other: Any) -> Probe:
    """Return a probe: does the open transaction block inserts of child rows of item 1?"""

    async def probe() -> bool:
        try:
            await other.execute("SELECT 1 FROM items WHERE id = 1 FOR KEY SHARE NOWAIT")
        except asyncpg.LockNotAvailableError:
            return True
        return False

    return probe


async def bulk_update(shop: Shop, item: Any, name: str) -> None:
    await shop.Item.query.bulk_update([item, await shop.Item.query.get(pk=2)], [name])


GENTLE: dict[str, Callable[[Shop, Any], Awaitable[Any]]] = {
    "update": lambda shop, item: item.update(stock=1),
    "save": lambda shop, item: item.save({"stock": 1}),
    "update of a set": lambda shop, item: shop.Item.query.update(stock=1),
    "update with one event": lambda shop, item: shop.Item.query.update(stock=1, expand=False),
    "bulk_update": lambda shop, item: bulk_update(shop, item, "stock"),
    "send": lambda shop, item: shop.Item.meta.signals.on_count.send(shop.Item, item),
}
EXCLUSIVE: dict[str, Callable[[Shop, Any], Awaitable[Any]]] = {
    "update of a unique column": lambda shop, item: item.update(name="new"),
    "save of a unique column": lambda shop, item: item.save({"name": "new"}),
    # Values that are what they were: only the lock of the operation itself blocks.
    "update of a set": lambda shop, item: shop.Item.query.filter(pk=1).update(name="i1"),
    "update with one event": lambda shop, item: shop.Item.query.filter(pk=1).update(
        name="i1", expand=False
    ),
    "bulk_update": lambda shop, item: bulk_update(shop, item, "name"),
    "delete": lambda shop, item: item.delete(),
    "delete of a set": lambda shop, item: shop.Item.query.delete(),
}


@pytest.mark.parametrize("operation", GENTLE.values(), ids=GENTLE.keys())
async def test_a_change_that_leaves_keys_alone_does_not_block_child_rows(
    shop: Shop, blocks_children: Probe, operation: Callable[[Shop, Any], Awaitable[Any]]
) -> None:
    item, _ = await shop.fill(2)
    async with shop.database.transaction():
        await operation(shop, item)
        assert not await blocks_children()


@pytest.mark.parametrize("operation", EXCLUSIVE.values(), ids=EXCLUSIVE.keys())
async def test_a_change_of_a_key_locks_the_key_at_once(
    shop: Shop, blocks_children: Probe, operation: Callable[[Shop, Any], Awaitable[Any]]
) -> None:
    item, _ = await shop.fill(2)
    async with shop.database.transaction():
        await operation(shop, item)
        assert await blocks_children()


# Old values


async def waits(other: Any, task: asyncio.Task[Any]) -> bool:
    """Return whether the task waits for a lock."""
    if task.done():
        raise AssertionError(f"the operation did not wait: {task}")
    # Unlike pg_stat_activity, pg_locks is read anew by each statement of a transaction.
    waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
    blocked = f"SELECT 1 FROM ({waiting}) w WHERE pg_backend_pid() = ANY(pg_blocking_pids(w.pid))"
    return bool(await other.fetchval(f"SELECT EXISTS ({blocked})"))


GONE = {"id": 99, "name": "gone", "stock": 0}

CHANGES: dict[str, Callable[[Shop, Any], Awaitable[Any]]] = {
    "update": lambda shop, item: item.update(stock=7),
    "save": lambda shop, item: item.save({"stock": 7}),
    "update of a set": lambda shop, item: shop.Item.query.filter(pk=1).update(stock=7),
    "bulk_update": lambda shop, item: shop.Item.query.bulk_update(
        [item.model_copy(update={"stock": 7})], ["stock"]
    ),
    "bulk_update of two": lambda shop, item: shop.Item.query.bulk_update(
        [item.model_copy(update={"stock": 7}), shop.Item.from_row(GONE)], ["stock"]
    ),
}


@pytest.mark.parametrize("operation", CHANGES.values(), ids=CHANGES.keys())
async def test_the_old_value_is_that_of_who_committed_during_the_wait_for_the_lock(
    shop: Shop, other: Any, operation: Callable[[Shop, Any], Awaitable[Any]]
) -> None:
    [item] = await shop.fill(1)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE items SET stock = 5 WHERE id = 1")
    task = asyncio.create_task(operation(shop, item))
    await eventually(lambda: waits(other, task), "the wait for the lock")
    await transaction.commit()
    await task
    assert await shop.changes() == [{"stock": {"old": 5, "new": 7}}]


async def test_local_receivers_get_the_old_value_under_the_lock_too(
    postgres_url: str, other: Any
) -> None:
    shop = Shop(postgres_url, publish=())
    async with shop.bus:
        await shop.registry.create_all()
        [item] = await shop.fill(1)
        calls = listen(shop.Item, "post_update")
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE items SET stock = 5 WHERE id = 1")
        task = asyncio.create_task(item.update(stock=7))
        await eventually(lambda: waits(other, task), "the wait for the lock")
        await transaction.commit()
        await task
    assert [call.kwargs["changes"] for call in calls] == [{"stock": {"old": 5, "new": 7}}]
