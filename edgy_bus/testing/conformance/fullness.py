"""A full broker, for brokers that declare `bounded`: what frees memory works, what grows waits."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from edgy_bus.brokers.base import START, ActionEntry, Broker, HeldState, Lease
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.testing.conformance.relays import card_of
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    letter_of,
    park,
    park_behind,
    parked_ids,
    wires,
)

Fill = Callable[[bool], Awaitable[None]]
"""The fixture `fill`: makes the broker full, or gives it room again."""


async def is_refused(call: Awaitable[object]) -> bool:
    """Return whether a call raises `BrokerUnavailable`."""
    try:
        await call
    except BrokerUnavailable:
        return True
    return False


class FullTopic:
    """Drain a broker that is full, and refuse to grow it."""

    async def test_events_dead_letters_and_parked_events_are_refused(
        self, broker: Broker, fill: Fill
    ) -> None:
        head = await append(broker, "a", "b", "c")
        lease = await acquire(broker, "w")
        a, b, c = await fetch_new(broker, lease)
        await park(broker, lease, a)
        (parked,) = await broker.parked(PARTITION, "mail", ROW)
        await fill(True)
        assert await is_refused(broker.publish(PARTITION, head, wires("d")))
        assert await is_refused(broker.announce(PARTITION, wires("p"), 1_000_000))
        assert await is_refused(broker.bury(lease, letter_of(b)))
        assert await is_refused(park_behind(broker, lease, c, after=parked.id))
        # A refused call has changed nothing: the same calls succeed once there is room.
        await fill(False)
        assert await broker.publish(PARTITION, head, wires("d")) is not None
        await broker.bury(lease, letter_of(b))
        assert await park_behind(broker, lease, c, after=parked.id) is not None
        assert await parked_ids(broker) == ["a", "c"]

    async def test_workers_and_relays_begin_and_go_on(self, broker: Broker, fill: Fill) -> None:
        await fill(True)
        assert await broker.declare("accounts.User", 8) == 8
        assert (await broker.join("mail", "w", 30, b"report")).alive == ["w"]
        lease = await acquire(broker, "w")
        # A lease that cannot be renewed would end every tenure while the server is full.
        assert await broker.renew(lease, 30)
        await broker.release(lease)
        assert await broker.acquire(PARTITION, "mail", "next", 30) is not None
        await broker.leave("mail", "w")
        await broker.list_relay(card_of("r"), 30, 0.0)
        assert len(await broker.relays()) == 1

    async def test_a_new_owner_takes_over_notes_and_settles(
        self, broker: Broker, fill: Fill
    ) -> None:
        head = await append(broker, "a", "b")
        old = await acquire(broker, "old")
        assert await fetch_ids(broker, old, count=1) == ["a"]
        await fill(True)
        await broker.release(old)
        new = await acquire(broker, "new")
        (a,) = (await broker.fetch(new, 10, inherit=True)).entries
        # Without the count of an attempt, an event that crashes its worker would do so for ever.
        await broker.note(new, {a.id: b"an attempt"})
        (b,) = (await broker.fetch(new, 10, inherit=True, after=a.id)).entries
        await broker.settle(new, [a.id, b.id])
        progress = await broker.progress(PARTITION, head)
        assert progress is not None
        assert await broker.trim(PARTITION, head, b.id, progress) == 1
        assert await broker.oldest_unfinished(PARTITION, "mail") is None

    async def test_a_new_group_reads(self, broker: Broker, fill: Fill) -> None:
        await append(broker, "a")
        await fill(True)
        assert await fetch_ids(broker, await acquire(broker, "w")) == ["a"]

    async def test_parked_events_are_released_and_handled(self, broker: Broker, fill: Fill) -> None:
        await append(broker, "a", "b")
        lease: Lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        await park(broker, lease, a, b)
        await fill(True)
        assert await broker.decide(PARTITION, "mail", ROW, skip=False)
        await broker.hold(lease, ROW, HeldState(retrying=True, attempts=1))
        first, second = await broker.parked(PARTITION, "mail", ROW, 2)
        assert first.id > START
        # Each event that is taken out frees memory, so the row drains although nothing may grow.
        assert await broker.unpark(lease, ROW, first)
        assert not await broker.unpark(lease, ROW, second)
        assert await broker.held(PARTITION, "mail") == {}
        await broker.settle(lease, [a.id, b.id], [letter_of(a).kept, letter_of(b).kept])

    async def test_dead_letters_are_replayed_and_discarded(
        self, broker: Broker, fill: Fill
    ) -> None:
        await append(broker, "a", "b", "c")
        lease: Lease = await acquire(broker, "w")
        for entry in await fetch_new(broker, lease):
            await broker.bury(lease, letter_of(entry))
            await broker.settle(lease, [entry.id], [letter_of(entry).kept])
        await fill(True)
        page = await broker.letters(PARTITION, "mail")
        a, b, c = [buried.id for buried in page.letters]
        # What is moved is deleted first, so nothing grows.
        assert await broker.replay(PARTITION, "mail", ROW, [a, b]) == 2
        first, second = await broker.parked(PARTITION, "mail", ROW, 2)
        assert await broker.unpark(lease, ROW, first, first.letter)
        assert not await broker.unpark(lease, ROW, second)
        assert await broker.discard(PARTITION, "mail", [c]) == 1
        assert await broker.dead_letters(PARTITION, "mail") == [first.letter]

    async def test_a_letter_is_edited_and_the_action_is_not_recorded(
        self, broker: Broker, fill: Fill
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        await broker.bury(lease, letter_of(entry))
        (buried,) = (await broker.letters(PARTITION, "mail")).letters
        await fill(True)
        # The letter is deleted first, as for a replay.
        edited = replace(letter_of(entry), fields={**entry.fields, b"data": b'{"x":1}'})
        assert await broker.edit(PARTITION, "mail", buried.id, edited) is not None
        assert await broker.dead_letters(PARTITION, "mail") == [edited]
        assert await is_refused(broker.record(ActionEntry("ana", "dead edit")))
        assert list(await broker.actions()) == []
