"""Held rows: states, decisions, and the end of a hold."""

from dataclasses import replace

from edgy_bus.brokers.base import START, Broker, HeldState, Parked
from edgy_bus.testing.conformance.steps import (
    BEYOND,
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_new,
    is_lost,
    letter_of,
    park,
    park_behind,
    parked_ids,
    pass_on,
)


class HeldRowTopic:
    """A row is held until its last parked event is finished."""

    async def test_a_holder_that_lost_the_lease_parks_nothing(self, broker: Broker) -> None:
        head = await append(broker, "a")
        old = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, old)
        new = await pass_on(broker, old)
        await park(broker, new, entry)
        (first,) = await broker.parked(PARTITION, "mail", ROW)
        for late in (old, new):
            begin = broker.park(late, ROW, letter_of(entry), begin=True, after=START)
            assert await is_lost(begin)
            assert await is_lost(broker.hold(late, ROW, HeldState(retrying=True)))
            assert await is_lost(broker.unpark(late, ROW, first))
            # The lease of the second tenure is good, but its epoch is over.
            await broker.inspect(PARTITION, replace(head, entry=BEYOND), "another epoch")
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await parked_ids(broker) == ["a"]

    async def test_a_row_is_held_until_its_last_parked_event_is_finished(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        await park(broker, lease, *await fetch_new(broker, lease))
        await broker.hold(lease, ROW, HeldState(retrying=True, attempts=2))
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True, attempts=2)}
        first, second = await broker.parked(PARTITION, "mail", ROW, 2)
        assert await broker.unpark(lease, ROW, first)
        # The next parked event starts with zero attempts.
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
        assert await parked_ids(broker) == ["b"]
        # The second call repeats the first, whose answer was lost.
        assert not await broker.unpark(lease, ROW, second)
        assert not await broker.unpark(lease, ROW, second)
        assert await broker.held(PARTITION, "mail") == {}

    async def test_only_the_first_parked_event_can_be_finished(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        await park(broker, lease, *await fetch_new(broker, lease))
        first, second = await broker.parked(PARTITION, "mail", ROW, 2)
        assert await broker.unpark(lease, ROW, first)
        await broker.hold(lease, ROW, HeldState())
        assert await broker.unpark(lease, ROW, first), "the answer to the first call was lost"
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        imposter = replace(second, letter=first.letter)
        assert await broker.unpark(lease, ROW, imposter), "the id belonged to another event"
        assert await parked_ids(broker) == ["b"]

    async def test_a_row_without_parked_events_is_not_held_again(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        await park(broker, lease, a)
        (first,) = await broker.parked(PARTITION, "mail", ROW)
        assert not await broker.unpark(lease, ROW, first)
        assert not await park_behind(broker, lease, b)
        await broker.hold(lease, ROW, HeldState(retrying=True))
        assert await broker.held(PARTITION, "mail") == {}, "the call came late"

    async def test_an_operator_decides_about_a_row_that_waits(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        assert not await broker.decide(PARTITION, "mail", ROW, skip=False)
        await park(broker, lease, *await fetch_new(broker, lease))
        assert await broker.decide(PARTITION, "mail", ROW, skip=False)
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
        assert not await broker.decide(PARTITION, "mail", ROW, skip=True), "a worker retries"
        assert await parked_ids(broker) == ["a", "b"]
        assert await broker.dead_letters(PARTITION, "mail") == []

    async def test_a_parked_event_that_is_skipped_becomes_a_dead_letter(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        await park(broker, lease, a, b)
        assert await broker.decide(PARTITION, "mail", ROW, skip=True)
        assert await broker.dead_letters(PARTITION, "mail") == [letter_of(a)]
        assert await parked_ids(broker) == ["b"]
        await broker.hold(lease, ROW, HeldState())
        assert await broker.decide(PARTITION, "mail", ROW, skip=True)
        assert await parked_ids(broker) == []
        retrying = {ROW: HeldState(retrying=True)}
        assert await broker.held(PARTITION, "mail") == retrying, "the owner ends the hold"
        assert not await broker.unpark(lease, ROW, Parked(START, letter_of(a)))
        assert await broker.held(PARTITION, "mail") == {}
        assert await broker.dead_letters(PARTITION, "mail") == [letter_of(a), letter_of(b)]
