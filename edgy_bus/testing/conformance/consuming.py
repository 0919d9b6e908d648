"""Consuming: groups, and counts of deliveries."""

from edgy_bus.brokers.base import Broker
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append, fetch_ids, pass_on


class ConsumingTopic:
    """Groups read independently, and deliveries are counted."""

    async def test_groups_are_independent(self, broker: Broker) -> None:
        await append(broker, "a")
        mail, search = await acquire(broker, "w"), await acquire(broker, "w", group="search")
        assert await fetch_ids(broker, mail) == ["a"]
        assert await fetch_ids(broker, search) == ["a"]
        unfinished = {group.group: group.unfinished for group in await broker.backlog(PARTITION)}
        assert unfinished == {"mail": 1, "search": 1}

    async def test_the_position_stays_when_there_is_nothing_new(self, broker: Broker) -> None:
        head = await append(broker, "a", "b")
        # Another group is behind, and Redis lists that group last.
        await fetch_ids(broker, await acquire(broker, "w", group="search"), count=1)
        lease = await acquire(broker, "w")
        positions = []
        for _ in range(3):
            fetched = await broker.fetch(lease, 10, inherit=True)
            positions.append(fetched.position)
        # A smaller position would let the bell ring for entries that the group has read.
        assert positions == [head.entry] * 3

    async def test_a_read_says_whether_it_came_to_the_end(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c")
        lease = await acquire(broker, "w")
        cut_off = await broker.fetch(lease, 1, inherit=True)
        to_the_end = await broker.fetch(lease, 10, inherit=False)
        empty = await broker.fetch(lease, 10, inherit=False)
        assert [read.more for read in (cut_off, to_the_end, empty)] == [True, False, False]

    async def test_deliveries_count_the_tenures_that_had_an_entry_in_hand(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        counts = []
        lease = await acquire(broker, "w")
        for _ in range(3):
            (entry,) = (await broker.fetch(lease, 1, inherit=True)).entries
            counts.append(entry.deliveries)
            lease = await pass_on(broker, lease)
        assert counts == [1, 2, 3]
