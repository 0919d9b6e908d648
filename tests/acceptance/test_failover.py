"""Check the promised recovery times and the number of repeated calls with real processes.

Processes are killed or receive SIGTERM, and Redis loses all of its data.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from redis.asyncio import Redis

from edgy_bus.events import partition_number
from edgy_bus.settings import WorkerSettings
from edgy_bus.testing.servers import Server, Source, find_redis
from tests.acceptance.conftest import Shop
from tests.chaos.recovery import Call, Outage, described, recoveries
from tests.support import eventually

PARTITIONS = 2
"""Partitions of the model Order."""

PATIENCE = 10.0
"""Seconds after the lease in which a busy machine must replace a killed worker.

The promise is half a second.
"""

DRAINING = 25.0
"""Seconds that a worker has after SIGTERM: five less than what Kubernetes gives."""


@asynccontextmanager
async def load(shop: Shop) -> AsyncIterator[None]:
    """Eight orders that are changed all the time, some sixty times a second together."""

    async def change() -> None:
        order = await shop.Order.query.create()
        for state in count(1):
            await order.update(state=state)
            await asyncio.sleep(0.05 + 0.15 * random.random())

    tasks = [asyncio.create_task(change()) for _ in range(8)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []


async def both_work(shop: Shop, first: int, second: int) -> None:
    """Each of two workers has partitions."""

    async def do() -> bool:
        return {first, second} <= {one.process for one in (await shop.calls())[-40:]}

    await eventually(do, "both workers are called")


async def committed(shop: Shop) -> list[str]:
    """The ids of all events, in the order of their commits."""
    rows = await shop.module.database.fetch_all("SELECT event_id FROM edgy_bus_outbox ORDER BY id")
    return [row["event_id"] for row in rows]


def repeated(calls: list[Any]) -> dict[str, int]:
    counts = Counter(one.event for one in calls)
    return {event: count for event, count in counts.items() if count > 1}


async def test_rows_of_a_killed_worker_are_handled_again_when_its_lease_is_over(
    shop: Shop, record_property: Callable[[str, object], None]
) -> None:
    settings = {"SHOP_DEFAULTS": "1"}
    with (
        shop.program("relay", "shop:bus", **settings),
        shop.program("worker", "shop:audit", **settings) as victim,
        shop.program("worker", "shop:audit", **settings) as other,
    ):
        async with load(shop):
            await both_work(shop, victim.process.pid, other.process.pid)
            kill = Outage("kill", victim.process.pid, time.time())
            victim.kill()
            await asyncio.sleep(WorkerSettings().lease)
            await _all_by(shop, other.process.pid)
        events = await committed(shop)
        await shop.all_called(len(events))
    calls = [
        Call(
            "audit", partition_number(str(one.order_id), PARTITIONS), one.event, one.process, one.at
        )
        for one in await shop.calls()
    ]
    found = recoveries([kill], calls)
    record_property("waits", described(found))
    print(f"lease {WorkerSettings().lease:g} s; waits: {described(found)}")
    assert found, "the killed worker had no partition"
    assert all(one.slowest < WorkerSettings().lease + PATIENCE for one in found), described(found)
    assert {one.event for one in calls} == set(events)


async def _all_by(shop: Shop, process: int) -> None:
    """Every partition is handled by this process."""

    async def are() -> bool:
        latest = {
            partition_number(str(one.order_id), PARTITIONS): one.process
            for one in await shop.calls()
        }
        return set(latest.values()) == {process}

    await eventually(are, "one worker handles everything")


async def test_a_worker_that_is_told_to_end_under_load_repeats_nothing(shop: Shop) -> None:
    settings = {"SHOP_DEFAULTS": "1", "SHOP_SLOW": "0.05"}
    with (
        shop.program("relay", "shop:bus", **settings),
        shop.program("worker", "shop:audit", **settings) as leaving,
        shop.program("worker", "shop:audit", **settings) as staying,
    ):
        async with load(shop):
            await both_work(shop, leaving.process.pid, staying.process.pid)
            told = time.monotonic()
            assert await asyncio.to_thread(leaving.terminate) == 0
            took = time.monotonic() - told
            await _all_by(shop, staying.process.pid)
        events = await committed(shop)
        await shop.all_called(len(events))
        assert await asyncio.to_thread(staying.terminate) == 0
    calls = await shop.calls()
    print(f"drained in {took:.2f} s, {len(calls)} calls for {len(events)} events")
    assert took < DRAINING
    assert repeated(calls) == {}
    assert {one.event for one in calls} == set(events)


@pytest.fixture
def own_redis() -> Iterator[Server]:
    """One that may be flushed."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


async def test_what_all_groups_had_finished_is_not_sent_again_after_a_flush(
    shop: Shop, own_redis: Server
) -> None:
    settings = {"SHOP_BROKER": own_redis.url}
    async with Redis.from_url(own_redis.url) as client:
        with shop.program("relay", "shop:bus", **settings) as relay:
            with shop.program("worker", "shop:audit", **settings) as first:
                await _change(shop, 100)
                await shop.all_called(100)
                # Streams are trimmed below what the database has noted as finished by all.
                await eventually(
                    lambda: _entries(client, at_most=PARTITIONS), "the streams are trimmed"
                )
                assert await asyncio.to_thread(first.terminate) == 0
            finished = await committed(shop)
            await _change(shop, 50)
            await eventually(lambda: _entries(client, at_least=50), "the rest is in the streams")
            await client.flushall()
            # Another process than before, which does not know what the first has handled.
            with shop.program("worker", "shop:audit", **settings) as second:
                await shop.all_called(150)
                await _change(shop, 10)
                await shop.all_called(160)
                assert await asyncio.to_thread(second.terminate) == 0
            await asyncio.to_thread(relay.wait_for_output, "relay.resynchronised")
    calls = await shop.calls()
    again = set(repeated(calls)) & set(finished)
    print(
        f"{len(again)} of {len(finished)} finished events were sent again, "
        f"{len(calls)} calls for 160 events"
    )
    assert not again
    assert Counter(one.event for one in calls).keys() == set(await committed(shop))


async def _change(shop: Shop, events: int) -> None:
    """So many events, of ten orders."""
    made = [await shop.Order.query.create() for _ in range(10)]
    for number in range(events - 10):
        await made[number % 10].update(state=number + 1)


async def _entries(client: Redis, at_least: int = 0, at_most: int | None = None) -> bool:
    keys = [key async for key in client.scan_iter("*}:events")]
    found = sum([await client.xlen(key) for key in keys])
    return bool(keys) and found >= at_least and (at_most is None or found <= at_most)
