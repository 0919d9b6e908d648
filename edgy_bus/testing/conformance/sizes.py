"""Sizes: a read is bounded by bytes, and no entry is too large to be read."""

from edgy_bus.brokers.base import OVERSHOOT, START, Broker, Lease
from edgy_bus.codec import Wire
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append, pass_on


async def append_sized(broker: Broker, *sizes: int) -> None:
    """Publish an event of each size."""
    head = await append(broker)
    wires = [Wire(f"e{at}", b"{}", b"x" * size) for at, size in enumerate(sizes)]
    assert await broker.publish(PARTITION, head, wires) is not None


async def sizes_of(
    broker: Broker, lease: Lease, most_bytes: int, *, inherit: bool = False
) -> list[list[int]]:
    """Fetch all entries, and return the sizes of each read."""
    reads: list[list[int]] = []
    after = START
    while True:
        fetched = await broker.fetch(
            lease, 1_000, inherit=inherit, after=after, most_bytes=most_bytes
        )
        if not fetched.entries:
            return reads
        reads.append([len(entry.fields[b"data"]) for entry in fetched.entries])
        inherit, after = fetched.inherited, fetched.position


class SizeTopic:
    """Bound reads by bytes."""

    async def test_a_read_ends_when_it_has_enough_bytes(self, broker: Broker) -> None:
        await append_sized(broker, *[1_000] * 100)
        lease = await acquire(broker, "w")
        reads = await sizes_of(broker, lease, 10_000)
        assert sum(map(len, reads)) == 100
        assert all(9_000 <= sum(read) <= 12_000 for read in reads)

    async def test_an_entry_above_the_limit_is_read_alone(self, broker: Broker) -> None:
        await append_sized(broker, *[5_000] * 3)
        lease = await acquire(broker, "w")
        assert await sizes_of(broker, lease, 1_000) == [[5_000]] * 3

    async def test_large_entries_behind_small_ones_exceed_the_limit_by_a_few(
        self, broker: Broker
    ) -> None:
        await append_sized(broker, *[1] * 300, *[5_000] * 100)
        lease = await acquire(broker, "w")
        # The size of the small entries says nothing about the entries behind them.
        reads = await sizes_of(broker, lease, 10_000)
        assert sum(map(len, reads)) == 400
        assert all(sum(read) <= 10_000 + OVERSHOOT * 5_000 for read in reads)

    async def test_the_entries_of_former_owners_are_bounded_as_well(self, broker: Broker) -> None:
        await append_sized(broker, *[1_000] * 30)
        old = await acquire(broker, "old")
        assert len(await sizes_of(broker, old, 100_000)) == 1
        new = await pass_on(broker, old)
        reads = await sizes_of(broker, new, 5_000, inherit=True)
        assert sum(map(len, reads)) == 30
        assert all(4_000 <= sum(read) <= 7_000 for read in reads)
