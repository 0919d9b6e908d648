"""Bells: waiting for new entries."""

import asyncio

from edgy_bus.brokers.base import START, Broker
from edgy_bus.testing.conformance.steps import BEYOND, PARTITION, append


class BellTopic:
    """A bell rings for new entries, and can be interrupted."""

    async def test_a_bell_rings_for_news_and_can_be_interrupted(self, broker: Broker) -> None:
        first = await append(broker, "a")
        head = await append(broker, "b")
        bell = broker.bell()
        try:
            assert await bell.wait({PARTITION: START}, 5) == {PARTITION: first.entry}
            assert await bell.wait({PARTITION: first.entry}, 5) == {PARTITION: head.entry}
            assert await bell.wait({PARTITION: head.entry}, 0.05) == {}
            waiting = asyncio.create_task(bell.wait({PARTITION: head.entry}, 20))
            # Time for the wait to reach the server.
            await asyncio.sleep(0.05)
            head = await append(broker, "c")
            assert await waiting == {PARTITION: head.entry}
            waiting = asyncio.create_task(bell.wait({PARTITION: BEYOND}, 20))
            await asyncio.sleep(0.05)
            await bell.interrupt()
            assert await waiting == {}
        finally:
            await bell.close()
