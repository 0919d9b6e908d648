"""Losses: epochs and proofs keep every step off data that is gone."""

from collections.abc import Sequence
from dataclasses import replace

from edgy_bus.brokers.base import START, Broker, Entry, EntryId, HeldState, Lease
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    is_lost,
    letter_of,
    park,
    pass_on,
    wires,
)


class LossTopic:
    """No step builds on data that the broker has lost."""

    async def test_a_loss_begins_another_epoch_in_which_old_leases_are_worthless(
        self, broker: Broker
    ) -> None:
        head = await append(broker, "a")
        lease = await acquire(broker, "w")
        assert (await broker.inspect(PARTITION, head, "not needed")).epoch == head.epoch
        # A publisher that knows a later head: the stream has lost its tail.
        gone = replace(head, entry=EntryId(head.entry.ms + 10**6, 0), event_id="gone")
        state = await broker.inspect(PARTITION, gone, "epoch-2")
        assert (state.epoch, [mark.event_id for mark in state.behind]) == ("epoch-2", ["a"])
        assert await broker.publish(PARTITION, head, wires("b")) is None
        # The lease itself has not run out: only its epoch is over.
        entry = Entry(head.entry, {b"id": b"a"})
        assert await is_lost(broker.fetch(lease, 1, inherit=True))
        assert await is_lost(broker.settle(lease, [head.entry]))
        assert await is_lost(broker.note(lease, {head.entry: b"1"}))
        assert await is_lost(broker.bury(lease, letter_of(entry)))
        await broker.release(lease)
        assert await fetch_ids(broker, await acquire(broker, "w2")) == ["a"]

    async def test_every_write_of_a_tenure_is_confirmed(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c")
        lease = await acquire(broker, "w")
        a, b, c = await fetch_new(broker, lease)
        confirmed = [lease.confirmed.write]
        for write in (
            broker.note(lease, {a.id: b"1"}),
            broker.bury(lease, letter_of(a)),
            park(broker, lease, b),
            broker.hold(lease, ROW, HeldState(retrying=True)),
            broker.settle(lease, [c.id]),
        ):
            await write
            confirmed.append(lease.confirmed.write)
        (parked,) = await broker.parked(PARTITION, "mail", ROW)
        await broker.unpark(lease, ROW, parked)
        confirmed.append(lease.confirmed.write)
        assert confirmed == sorted(set(confirmed)), "each write has a number above the last"

    async def test_an_older_copy_of_the_data_ends_the_tenure(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        await park(broker, lease, b)
        (parked,) = await broker.parked(PARTITION, "mail", ROW)
        # The broker that comes back lacks this write.
        lease.confirmed.learn(lease.confirmed.write + 1)
        assert await is_lost(broker.fetch(lease, 1, inherit=True))
        assert await is_lost(broker.settle(lease, [a.id]))
        assert await is_lost(broker.note(lease, {a.id: b"1"}))
        assert await is_lost(broker.bury(lease, letter_of(a)))
        assert await is_lost(park(broker, lease, a))
        assert await is_lost(broker.hold(lease, ROW, HeldState(retrying=True)))
        assert await is_lost(broker.unpark(lease, ROW, parked))
        assert await broker.dead_letters(PARTITION, "mail") == []
        assert await broker.parked(PARTITION, "mail", ROW) == [parked]
        assert await fetch_ids(broker, await pass_on(broker, lease), inherit=True) == ["a", "b"]

    async def test_a_note_that_is_late_is_left_out(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        await broker.note(lease, {a.id: b"2", b.id: b"2"}, number=2)
        await broker.note(lease, {a.id: b"1"}, number=1)
        await broker.note(lease, {b.id: b"3"}, number=3)
        lease, entries = await _hand_on(broker, lease)
        assert [entry.notes for entry in entries] == [b"2", b"3"]
        # The next tenure counts anew.
        await broker.note(lease, {a.id: b"next"}, number=1)
        lease, entries = await _hand_on(broker, lease)
        assert [entry.notes for entry in entries] == [b"next", b"3"]

    async def test_no_note_undoes_that_an_event_was_put_aside(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a, b = await fetch_new(broker, lease)
        first, second = letter_of(a), letter_of(a, "app.other")
        await broker.bury(lease, first)
        await broker.park(lease, ROW, second, [first.kept], begin=True, after=START)
        await broker.note(lease, {a.id: b"late", b.id: b"b"})
        lease, entries = await _hand_on(broker, lease)
        assert [set(entry.kept) for entry in entries] == [{first.receiver, second.receiver}, set()]
        await broker.settle(lease, [a.id], [first.kept, second.kept])
        lease, entries = await _hand_on(broker, lease)
        assert [(entry.notes, list(entry.kept)) for entry in entries] == [(b"b", [])]

    async def test_nothing_is_built_on_a_kept_event_that_was_lost(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        a = (await fetch_new(broker, lease))[0]
        lost = letter_of(a).kept
        second = letter_of(a, "app.other")
        # The broker has no proof that the event was ever kept for the first receiver.
        assert await is_lost(broker.settle(lease, [a.id], [lost]))
        assert await is_lost(broker.note(lease, {a.id: b"n"}, [lost]))
        assert await is_lost(broker.bury(lease, second, [lost]))
        assert await is_lost(broker.park(lease, ROW, second, [lost], begin=True, after=START))
        assert await broker.dead_letters(PARTITION, "mail") == []
        assert await broker.held(PARTITION, "mail") == {}
        assert await fetch_ids(broker, await pass_on(broker, lease), inherit=True) == ["a", "b"]

    async def test_a_proof_stays_until_its_entry_is_settled(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (a,) = await fetch_new(broker, lease)
        await park(broker, lease, a)
        first, second = letter_of(a), letter_of(a, "app.other")
        await broker.bury(lease, second, [first.kept])
        await broker.note(lease, {a.id: b"all"}, [first.kept, second.kept])
        # The entry id belongs to another event since a loss.
        imposter = first.kept._replace(event_id=b"another")
        assert await is_lost(broker.settle(lease, [a.id], [first.kept, imposter]))
        # The answer to the first call was lost.
        for _ in range(2):
            await broker.settle(lease, [a.id], [first.kept, second.kept])
        assert await is_lost(broker.note(lease, {a.id: b"late"}, [first.kept]))
        assert await fetch_ids(broker, await pass_on(broker, lease), inherit=True) == []


async def _hand_on(broker: Broker, lease: Lease) -> tuple[Lease, Sequence[Entry]]:
    """Return the lease of the next owner, and the entries that the owner takes over."""
    lease = await pass_on(broker, lease)
    return lease, (await broker.fetch(lease, 100, inherit=True)).entries
