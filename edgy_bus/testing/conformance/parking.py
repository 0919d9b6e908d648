"""Parking: the later events of a held row keep their order behind the first."""

from edgy_bus.brokers.base import START, Broker, HeldState, RowKey
from edgy_bus.testing.conformance.steps import (
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


class ParkingTopic:
    """An event is parked once, in order, behind a held row and nowhere else."""

    async def test_parked_events_keep_their_order_and_their_content(self, broker: Broker) -> None:
        await append(broker, *"abc")
        lease = await acquire(broker, "w")
        assert await broker.held(PARTITION, "mail") == {}
        assert await broker.parked(PARTITION, "mail", ROW) == []
        entries = await fetch_new(broker, lease)
        await park(broker, lease, *entries)
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await broker.held(PARTITION, "search") == {}
        parked = await broker.parked(PARTITION, "mail", ROW, 2)
        assert [event.letter for event in parked] == [letter_of(entry) for entry in entries[:2]]
        assert await parked_ids(broker) == ["a", "b", "c"]

    async def test_repeated_parking_parks_once(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        entries = await fetch_new(broker, lease)
        # The answers to the first calls were lost.
        for _ in range(2):
            await park(broker, lease, *entries)
        assert await parked_ids(broker) == ["a", "b"]

    async def test_nothing_is_parked_where_parked_events_were_lost(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c")
        lease = await acquire(broker, "w")
        a, b, c = await fetch_new(broker, lease)
        await park(broker, lease, a, b)
        (first,) = await broker.parked(PARTITION, "mail", ROW)
        rows = [RowKey("app.other", "7"), ROW]
        tails = await broker.tails(PARTITION, "mail", rows)
        assert list(tails) == [ROW]
        newest = await broker.newest_parked(PARTITION, "mail", rows)
        assert {row: event.id for row, event in newest.items()} == tails
        assert newest[ROW].letter == letter_of(b)
        # The caller knows fewer parked events than there are, or more: one of both has lost some.
        assert await is_lost(park_behind(broker, lease, c, after=first.id))
        begin = broker.park(lease, ROW, letter_of(c), begin=True, after=START)
        assert await is_lost(begin)
        assert await park_behind(broker, lease, c, after=tails[ROW])
        assert await parked_ids(broker) == ["a", "b", "c"]

    async def test_nothing_is_parked_behind_a_row_that_is_not_held(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        assert not await park_behind(broker, lease, a)
        assert await parked_ids(broker) == []
        await park(broker, lease, a)
        # Neither for another receiver of this row, nor for another row of this receiver.
        assert not await park_behind(broker, lease, b, RowKey("app.other", "7"))
        assert not await park_behind(broker, lease, b, RowKey(ROW.receiver, "8"))
        new = await pass_on(broker, lease)
        (again,) = (await broker.fetch(new, 1, inherit=True)).entries
        assert list(again.kept) == [ROW.receiver], "the next owner learns that it is parked"

    async def test_a_group_that_is_forgotten_keeps_its_held_rows(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        await park(broker, lease, *await fetch_new(broker, lease))
        await broker.forget(PARTITION, "mail")
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await parked_ids(broker) == ["a", "b"]
