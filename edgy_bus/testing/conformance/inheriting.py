"""Inheriting: the entries that former owners left unfinished."""

from edgy_bus.brokers.base import Broker
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    is_lost,
    pass_on,
    take_over,
)


class InheritingTopic:
    """Unfinished entries of former owners come before new entries, oldest first."""

    async def test_entries_of_a_former_owner_come_first_and_alone(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c")
        old = await acquire(broker, "w1")
        finished, unfinished = (await broker.fetch(old, 2, inherit=True)).entries
        # The old owner ends with one finished entry, and one entry that a receiver has handled.
        await broker.note(old, {unfinished.id: b"half"})
        await broker.settle(old, [finished.id])
        new = await pass_on(broker, old)
        first = await broker.fetch(new, 10, inherit=True)
        assert first.inherited
        assert [(entry.fields[b"id"], entry.notes) for entry in first.entries] == [(b"b", b"half")]
        assert await fetch_ids(broker, new, inherit=True) == ["c"]

    async def test_nothing_new_is_read_when_entries_of_former_owners_come_back(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        old = await acquire(broker, "w1")
        assert await fetch_ids(broker, old, count=1) == ["a"]
        new = await pass_on(broker, old)
        # A tenure that has taken over everything reads without `inherit`. Entries of former owners
        # can then only come from an older copy of the stream.
        assert await is_lost(broker.fetch(new, 10, inherit=False))
        assert await fetch_ids(broker, new, inherit=True) == ["a"]
        assert await fetch_ids(broker, new, inherit=False) == ["b"]

    async def test_inherited_entries_come_in_pages_oldest_first(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c", "d")
        old = await acquire(broker, "w1")
        assert await fetch_ids(broker, old) == ["a", "b", "c", "d"]
        new = await pass_on(broker, old)
        assert await fetch_ids(broker, new, inherit=True, count=3) == ["a", "b", "c"]
        assert await fetch_ids(broker, new, inherit=True, count=3) == ["d"]
        assert await fetch_ids(broker, new, inherit=True, count=3) == []

    async def test_a_tenure_goes_on_after_the_last_entry_that_was_taken_over(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b", "c", "d", "e")
        lease = await acquire(broker, "w1")
        assert await fetch_ids(broker, lease, count=2) == ["a", "b"]
        lease = await pass_on(broker, lease)
        assert await take_over(broker, lease, count=1) == ["a", "b"]
        assert await fetch_ids(broker, lease, count=1) == ["d"]
        lease = await pass_on(broker, lease)
        assert await take_over(broker, lease, count=3) == ["a", "b", "c", "d"]
        assert await fetch_ids(broker, lease, count=1) == []

    async def test_entries_before_the_last_one_taken_over_came_back_with_an_older_copy(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b", "c")
        old = await acquire(broker, "w1")
        _, second = (await broker.fetch(old, 2, inherit=False)).entries
        new = await pass_on(broker, old)
        assert await is_lost(broker.fetch(new, 10, inherit=True, after=second.id))
        assert await fetch_ids(broker, new, inherit=True) == ["a", "b"]

    async def test_inherited_entries_that_are_gone_are_reported(self, broker: Broker) -> None:
        head = await append(broker, "a", "b")
        old = await acquire(broker, "w1")
        trimmed, _ = await fetch_new(broker, old)
        assert await broker.trim(PARTITION, head, head.entry, {}) == 1
        fetched = await broker.fetch(await pass_on(broker, old), 10, inherit=True)
        assert [entry.fields[b"id"] for entry in fetched.entries] == [b"b"]
        assert list(fetched.missing) == [trimmed.id]
