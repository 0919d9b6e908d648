"""Sharing, for brokers that declare `shared_between_processes`: connections see the same data."""

import asyncio

from edgy_bus.brokers.base import Broker
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    Connect,
    acquire,
    append,
    fetch_ids,
    is_lost,
)


class SharingTopic:
    """Two connections, as two processes have, work on the same streams and groups."""

    async def test_an_event_reaches_another_connection(
        self, broker: Broker, connect: Connect
    ) -> None:
        second = await connect()
        head = await append(broker)
        bell = second.bell()
        try:
            # The event is appended while the second connection waits.
            waiting = asyncio.create_task(bell.wait({PARTITION: head.entry}, 20))
            await asyncio.sleep(0.05)
            head = await append(broker, "a")
            assert await waiting == {PARTITION: head.entry}
        finally:
            await bell.close()
        assert await fetch_ids(second, await acquire(second, "w")) == ["a"]

    async def test_a_lease_excludes_owners_on_other_connections(
        self, broker: Broker, connect: Connect
    ) -> None:
        second = await connect()
        lease = await acquire(broker, "w1")
        assert await second.acquire(PARTITION, "mail", "w2", 30) is None
        await broker.release(lease)
        successor = await acquire(second, "w2")
        assert successor.token > lease.token
        assert await is_lost(broker.settle(lease, []))

    async def test_members_on_other_connections_are_seen(
        self, broker: Broker, connect: Connect
    ) -> None:
        second = await connect()
        await broker.join("mail", "w1", 30, b"1")
        members = await second.join("mail", "w2", 30, b"2")
        assert set(members.alive) == {"w1", "w2"}
