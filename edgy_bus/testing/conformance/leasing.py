"""Leases: one holder at a time, and nothing for a former holder."""

import asyncio

from edgy_bus.brokers.base import START, Broker
from edgy_bus.testing.conformance.steps import acquire, append, fetch_ids, is_lost


class LeasingTopic:
    """A lease has one holder, and a holder that lost the lease can do nothing."""

    async def test_a_lease_has_one_holder_and_rising_tokens(self, broker: Broker) -> None:
        first = await acquire(broker, "w1")
        assert await broker.acquire(first.partition, "mail", "w2", 30) is None
        assert await broker.renew(first, 30)
        await broker.release(first)
        second = await acquire(broker, "w2")
        assert second.token > first.token
        assert (first.former, second.former) == ("", "w1")
        # The first holder wakes up late, and must not disturb its successor.
        assert not await broker.renew(first, 30)
        await broker.release(first)
        assert await broker.renew(second, 30)

    async def test_whether_a_lease_is_held_is_seen_by_everybody(self, broker: Broker) -> None:
        lease = await acquire(broker, "w1")
        assert await broker.is_held(lease.partition, "mail")
        assert not await broker.is_held(lease.partition, "search")
        await broker.release(lease)
        assert not await broker.is_held(lease.partition, "mail")
        await acquire(broker, "w2", ttl=0.05)
        await asyncio.sleep(0.1)
        assert not await broker.is_held(lease.partition, "mail")

    async def test_leases_are_renewed_together(self, broker: Broker) -> None:
        released = await acquire(broker, "w1", group="search")
        await broker.release(released)
        mail, search = [await acquire(broker, "w1", group=group) for group in ("mail", "search")]
        # A lost lease in the middle affects no other lease.
        assert list(await broker.renew_all([mail, released, search], 30)) == [True, False, True]
        assert list(await broker.renew_all([], 30)) == []

    async def test_a_holder_that_lost_the_lease_can_do_nothing(self, broker: Broker) -> None:
        await append(broker, "a")
        old = await acquire(broker, "w1", ttl=0.05)
        assert await fetch_ids(broker, old) == ["a"]
        await asyncio.sleep(0.1)
        # The lease has run out, whether or not another owner has taken the lease.
        assert await is_lost(broker.fetch(old, 1, inherit=True))
        new = await acquire(broker, "w2")
        assert await is_lost(broker.fetch(old, 1, inherit=True))
        assert await is_lost(broker.settle(old, [START]))
        assert await is_lost(broker.note(old, {START: b"x"}))
        assert await fetch_ids(broker, new, inherit=True) == ["a"]
