"""A worker process holds more partitions than conversations with Redis at the same time."""

import asyncio
from typing import Any

import pytest

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.url import MOST_CONNECTIONS
from edgy_bus.events import partitions_of
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import subscribe

MANY = 300
LEASE = 5.0


@pytest.mark.timeout(60)
async def test_a_worker_keeps_hundreds_of_partitions(redis_url: str, prefix: str) -> None:
    assert MANY > MOST_CONNECTIONS
    subjects: set[str] = set()

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        subjects.add(event.subject)

    broker = RedisBroker(redis_url, prefix)
    await broker.connect()
    await broker.declare(PARTITION.model, MANY)
    for number, partition in enumerate(partitions_of(PARTITION.model, MANY)):
        await publish(broker, event(str(number), 1), partition=partition)
    worker = Worker(
        broker, [Subscriptions("mail", [subscribe(receiver)])], WorkerSettings(lease=LEASE)
    )
    with Told() as reported:
        async with worker:
            await eventually(lambda: len(subjects) == MANY, "an event of every partition")
            await asyncio.sleep(LEASE * 1.2)  # Longer than a lease that is not renewed.
            assert len(worker.consumers[0].partitions) == MANY
            assert reported.of("tenure.lost") == []
    assert reported.of("broker.unavailable") == []
    await broker.close()
