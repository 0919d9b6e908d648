"""Ten thousand held rows: others have their turns of the event loop meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import HeldState, RowKey
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.detours import Detours
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import Lanes
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.term import Term
from edgy_bus.testing.conformance.steps import PARTITION, acquire
from tests.unit.runtime.support import Group

ROWS = 10_000
PAGE = 500


@pytest.fixture
async def broker(redis_url: str, prefix: str, redis_client: Redis) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    rows = [RowKey("app.receiver", str(number)) for number in range(ROWS)]
    for at in range(0, ROWS, 1_000):
        pipeline = redis_client.pipeline(transaction=False)
        for row in rows[at : at + 1_000]:
            pipeline.hset(broker.keys.held(PARTITION, "mail"), str(row), "held")
            pipeline.xadd(broker.keys.parked(PARTITION, "mail", row), {"event.id": "e"})
        await pipeline.execute()
    yield broker
    await broker.close()


async def turns_during(running: "asyncio.Task[None]") -> int:
    """Return how many turns the loop gets while a task runs."""
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    await running
    return turns


async def test_a_tenure_learns_of_them_and_asks_for_decisions_in_pages(
    broker: RedisBroker,
) -> None:
    lease = await acquire(broker, "w")
    failures: list[BaseException] = []
    tools = Group(broker).tools
    term, lanes = Term(lease, time.monotonic() + 60), Lanes[Work](tools.load)
    attendance = Attendance(term, tools)
    detours = Detours(term, tools, lanes, attendance, OwnedTasks(failures.append))
    assert await turns_during(asyncio.create_task(detours.load())) >= ROWS // PAGE
    assert len(detours.held.rows) == ROWS
    assert await turns_during(asyncio.create_task(detours._look())) >= ROWS // PAGE
    assert len(detours.held.rows) == ROWS
    assert failures == []


async def test_all_of_them_are_in_the_answer(broker: RedisBroker) -> None:
    held = await broker.held(PARTITION, "mail")
    assert len(held) == ROWS
    assert set(held.values()) == {HeldState()}
    tails = await broker.tails(PARTITION, "mail", list(held))
    assert tails.keys() == held.keys()
