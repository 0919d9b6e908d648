"""Durability, for brokers that declare `durable`: data outlives every connection."""

from edgy_bus.brokers.base import Broker, HeldState
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    Connect,
    acquire,
    append,
    fetch_new,
    letter_of,
    park,
    parked_ids,
)


class DurabilityTopic:
    """A program that starts after all others have ended finds everything."""

    async def test_everything_is_there_after_the_last_connection_closed(
        self, broker: Broker, connect: Connect
    ) -> None:
        await broker.declare("accounts.User", 8)
        head = await append(broker, "a", "b", "c", "d")
        lease = await acquire(broker, "w")
        a, b, c = await fetch_new(broker, lease, 3)
        await broker.bury(lease, letter_of(a))
        await park(broker, lease, b)
        await broker.note(lease, {c.id: b"half"})
        await broker.release(lease)
        await broker.close()

        # No connection is left that could keep anything in memory.
        later = await connect()
        assert dict(await later.declared()) == {"accounts.User": 8}
        assert (await later.inspect(PARTITION, head, "unused")).head == head
        assert await later.dead_letters(PARTITION, "mail") == [letter_of(a)]
        assert await later.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await parked_ids(later) == ["b"]
        new = await acquire(later, "w2")
        inherited = await later.fetch(new, 10, inherit=True)
        assert [entry.notes for entry in inherited.entries] == [None, None, b"half"]
        assert [list(entry.kept) for entry in inherited.entries] == [
            [ROW.receiver],
            [ROW.receiver],
            [],
        ]
        (entry,) = await fetch_new(later, new)
        assert entry.fields[b"id"] == b"d"
