"""Check that calls of a worker share nothing: context variables, transactions, connections."""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import text

import edgy_bus as edgy
from edgy_bus.signals import post_save
from tests.integration.service import QUICK
from tests.support import Told, eventually

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)

COUNT = 60


class Place:
    """A model, and a second model that receivers write to."""

    def __init__(self, url: str) -> None:
        self.bus = edgy.Bus(
            "memory://",
            service="shop",
            **QUICK,
        )
        shared = self.registry = edgy.Registry(edgy.Database(url), bus=self.bus)

        class Order(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = shared

        class Effect(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            order: int = edgy.BigIntegerField()

            class Meta:
                registry = shared
                publish = ()

        self.Order, self.Effect = Order, Effect
        self.database = shared.database
        self.bus.on_start(shared.create_all)


@pytest.fixture
def place(database_url: str) -> Place:
    return Place(database_url)


async def behave(place: Place, number: int, calls: list[int]) -> None:
    """Write a row: in a transaction that ends, in one that stays open, or in one that fails."""
    kind = number % 5
    if kind == 0:
        await place.database.transaction().start()
    elif kind == 1:
        await place.database.connection().__aenter__()
    elif kind == 2:
        transaction = await place.database.transaction().start()
        await place.Effect.query.create(order=number)
        await asyncio.sleep(0)
        await transaction.commit()
        return
    await place.Effect.query.create(order=number)
    if kind == 3:
        async with place.database.transaction():
            await place.Effect.query.create(order=-number)
            calls.append(number)
            raise LookupError("after the write")


async def test_calls_of_a_worker_share_no_transaction_and_use_no_connection_up(
    place: Place,
) -> None:
    calls: list[int] = []
    wrong: list[str] = []

    @post_save(place.Order, retry=edgy.Retry(attempts=1))
    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        if place.database.in_transaction:
            wrong.append(f"{instance.id} began inside a transaction")
        if tenant.get() is not None:
            wrong.append(f"{instance.id} began with {tenant.get()}")
        tenant.set(f"the tenant of {instance.id}")
        await behave(place, instance.id, calls)
        calls.append(instance.id)

    with Told() as told:
        async with place.bus, place.bus.worker():
            await place.Order.query.bulk_create([{} for _ in range(COUNT)])
            await eventually(lambda: len(calls) == COUNT, f"{COUNT} calls")
            await eventually(lambda: len(told.of("receiver.left_open")) == COUNT // 5 * 2)
            effects = await place.Effect.query.values_list("order", flat=True)
            await check_no_transaction_is_open(place.database)
    assert wrong == []
    # Writes of a transaction that stayed open are rolled back.
    assert sorted(effects) == [number for number in range(1, COUNT + 1) if number % 5]


async def check_no_transaction_is_open(database: edgy.Database) -> None:
    if database.dialect.name != "postgresql":
        # SQLite has a single writer, which would wait for an open transaction.
        async with database.transaction():
            return
    query = text(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
        "AND state LIKE 'idle in transaction%' AND query LIKE '%effect%'"
    )

    async def idle() -> bool:
        return (await database.run(query)).rows[0]["n"] == 0

    await eventually(idle, "the end of every transaction")
