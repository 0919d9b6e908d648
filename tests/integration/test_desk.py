"""What an operator's views and actions cost on a real Redis, at the size of a large system."""

import sys
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import DeadLetter, EntryId, RowKey
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.encoding import letter_arguments
from edgy_bus.codec import pack
from edgy_bus.operations import (
    Discarded,
    Parts,
    Replayed,
    Selection,
    dead,
    discard_dead,
    history_of_all,
    ownership,
    replay_dead,
    status,
)
from edgy_bus.operations.surveys import streams_of
from tests.support import PARTITION, event

MODELS, GROUPS, LETTERS = 200, 20, 10_000


@pytest.fixture
async def broker(redis_url: str, prefix: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    yield broker
    await broker.close()


async def fill(broker: RedisBroker, client: Redis) -> None:
    """Write an event to each stream of many models, and let many groups begin there."""
    for number in range(MODELS):
        model = f"accounts.Model{number}"
        await broker.declare(model, 8)
        pipeline = client.pipeline(transaction=False)
        for partition in streams_of(model, 8):
            key = broker.keys.events(partition)
            pipeline.xadd(key, {"id": "e", "head": "{}", "data": "{}"})
            for group in range(GROUPS):
                pipeline.xgroup_create(key, f"group{group}", "0")
        await pipeline.execute()


async def test_a_status_over_200_models_and_20_groups_costs_less_than_a_second_of_cpu(
    broker: RedisBroker, redis_client: Redis
) -> None:
    await fill(broker, redis_client)
    parts = Parts(broker, "accounts")
    # The clock of the process: on the wall clock, other programs of the machine count as well.
    began = time.process_time()
    view = await status(parts)
    spent = time.process_time() - began
    assert (view.models, view.streams, len(view.groups)) == (MODELS, MODELS * 9, GROUPS)
    assert {group.lag for group in view.groups} == {MODELS * 9}
    # The tracer of a coverage run takes more time than the code that it looks at.
    assert spent < (1.0 if sys.gettrace() is None else 4.0), spent


async def test_the_owners_of_36_000_partitions_are_listed_in_bounded_memory(
    broker: RedisBroker, redis_client: Redis
) -> None:
    await fill(broker, redis_client)
    await ownership(broker, most=1)
    tracemalloc.start()
    try:
        view = await ownership(broker, most=200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(view.partitions), view.count) == (200, MODELS * 9 * GROUPS)
    assert view.standing == view.count, "nobody works"
    # All partitions together take about 13 MB.
    assert peak < 5_000_000, peak


async def test_a_day_of_20_groups_costs_less_than_half_a_second_of_cpu(
    broker: RedisBroker, redis_client: Redis
) -> None:
    now = int(time.time() // 60)
    groups = [f"group{number}" for number in range(GROUPS)]
    for group in groups:
        minutes = {str(each % 1440): f"{each} 2 1 1" for each in range(now - 1435, now + 1)}
        await redis_client.hset(broker.keys.tallies(group), mapping=minutes)
    began = time.process_time()
    view = await history_of_all(broker, groups)
    spent = time.process_time() - began
    assert GROUPS * 2 * 1430 <= view.day.handled <= GROUPS * 2 * 1436
    assert spent < (0.5 if sys.gettrace() is None else 2.0), spent


async def bury_many(broker: RedisBroker, client: Redis, data: bytes) -> None:
    """Write letters of 1,000 rows, ten of each row."""
    await broker.declare(PARTITION.model, 1)
    await client.xgroup_create(broker.keys.events(PARTITION), "mail", mkstream=True)
    for at in range(0, LETTERS, 1000):
        pipeline = client.pipeline(transaction=False)
        for number in range(at, at + 1000):
            wire = pack(event(str(number % 1000), number + 1))
            fields = {b"id": wire.id.encode(), b"head": wire.header, b"data": data}
            letter = DeadLetter(EntryId(number, 0), "app.mail", f"HTTP {number}", 1, fields)
            flat = letter_arguments(letter)
            names = dict(zip(flat[::2], flat[1::2], strict=True))
            pipeline.xadd(broker.keys.dead(PARTITION, "mail"), names)  # type: ignore[arg-type]
        await pipeline.execute()


async def test_ten_thousand_letters_are_listed_and_replayed_in_bounded_memory(
    broker: RedisBroker, redis_client: Redis
) -> None:
    await bury_many(broker, redis_client, b'{"instance":{"text":"%s"}}' % (b"x" * 2_000))
    tracemalloc.start()
    try:
        view = await dead(broker, Selection())
        result = await replay_dead(broker, Selection())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (view.count, len(view.failures)) == (LETTERS, 1)
    assert result == Replayed(matching=LETTERS, replayed=LETTERS)
    # The letters have 20 MB.
    assert peak < 5_000_000, peak
    parked = await broker.parked(PARTITION, "mail", RowKey("app.mail", "7"), 20)
    subjects = [each.letter.reason for each in parked]
    assert subjects == [f"HTTP {number}" for number in range(7, LETTERS, 1000)], "in order"
    assert len(await broker.held(PARTITION, "mail")) == 1000


async def test_large_letters_are_read_a_few_at_a_time(
    broker: RedisBroker, redis_client: Redis
) -> None:
    await broker.declare(PARTITION.model, 1)
    await redis_client.xgroup_create(broker.keys.events(PARTITION), "mail", mkstream=True)
    for number in range(20):
        names = {"entry": "1-1", "receiver": "r", "event.data": b"x" * 1_000_000, "n": number}
        await redis_client.xadd(broker.keys.dead(PARTITION, "mail"), names)
    page = await broker.letters(PARTITION, "mail", data=True)
    assert 3 <= len(page.letters) <= 6
    assert page.more
    bare = await broker.letters(PARTITION, "mail")
    assert len(bare.letters) <= 6, "a script that reads 20 MB would stop the server"
    assert (await dead(broker, Selection())).count == 20
    assert await discard_dead(broker, Selection()) == Discarded(20, 20)
