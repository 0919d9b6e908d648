"""Receivers that are set aside: own groups, and the way back."""

import asyncio

import pytest

from edgy_bus.brokers.base import Arrangement, Broker, EntryId, Kept, Lease, Listed
from edgy_bus.brokers.base.setting_aside import NEAR
from edgy_bus.codec import dumps
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
    parked_ids,
    pass_on,
    take_over,
)

A, B = "app.a", "app.receiver"
"""The second name is that of `ROW`."""

OLD = Listed(("accounts.User.post_save",), "now", since=0.0, seen=0.0)
"""A receiver that the group had before its partitions were arranged."""

NEW = Listed(OLD.signals, "kept", since=2**40, seen=2**40)
"""A receiver that the group has got since then, and that begins with what is kept."""

LATER = Listed(OLD.signals, "now", since=2**40, seen=2**40)
"""The same, but it begins with events to come."""

BOTH = {A: OLD, B: OLD}
ONE = {A: OLD}
OTHER = {B: OLD}
OWN = f"mail/{B}"


async def arrange(
    broker: Broker, lease: Lease, *, without: bool = False, forgotten: tuple[str, ...] = ()
) -> Arrangement:
    """Arrange the receivers A and B, or A without B, until nothing is moved any more."""
    steps: list[Arrangement] = []
    while not steps or steps[-1].more:
        part, out = (ONE, OTHER) if without else (BOTH, {})
        steps.append(await broker.arrange(lease, part, out, forgotten))
    set_aside = tuple(name for step in steps for name in step.set_aside)
    last = steps[-1]
    return Arrangement(
        last.aside, last.floors, set_aside, last.returned, last.dropped, near=last.near
    )


async def next_tenure(broker: Broker, lease: Lease) -> Lease:
    """Give the lease of the group to another owner."""
    return await pass_on(broker, lease)


async def own_lease(broker: Broker, owner: str = "own") -> Lease:
    return await acquire(broker, owner, group=OWN)


async def finished(broker: Broker) -> EntryId:
    """Return the entry below which the group has finished everything."""
    head = await append(broker)
    progress = await broker.progress(PARTITION, head)
    assert progress is not None
    assert set(progress) == {"mail"}, "the own group of a receiver is no group"
    return progress["mail"]


def note(event_id: str, *done: str) -> bytes:
    """Return a note as the runtime writes it."""
    return dumps([event_id, {name: [0, 0.0, True, False, 0.0] for name in done}])


class SettingAsideTopic:
    """A receiver that a tenure leaves out reads in a group of its own, until it has caught up."""

    async def test_the_receivers_of_a_first_arrangement_take_part(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        assert await arrange(broker, lease) == Arrangement()
        assert await fetch_ids(broker, lease) == ["a"]
        assert await broker.asides([PARTITION], "mail") == {}

    async def test_a_new_receiver_is_a_stranger_until_the_partition_is_arranged(
        self, broker: Broker
    ) -> None:
        async def strangers(*receivers: str) -> list[str]:
            return [
                each for each in receivers if await broker.strangers_to([PARTITION], "mail", each)
            ]

        assert await broker.strangers_to([], "mail", B) == []
        assert await strangers(A, B) == [], "the first arrangement begins with the first entry"
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await broker.arrange(lease, ONE, {})
        assert await strangers(A, B) == [B]
        await broker.arrange(lease, {**ONE, B: LATER}, {})
        assert await strangers(A, B) == []
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        assert await strangers(A, B) == [], "a receiver that is set aside is known"
        assert await broker.strangers_to([PARTITION], "search", B) == []

    async def test_a_receiver_that_is_left_out_reads_in_a_group_of_its_own(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        (first,) = await fetch_new(broker, lease)
        await broker.settle(lease, [first.id])
        # The next owner is a program without B.
        lease = await next_tenure(broker, lease)
        arrangement = await arrange(broker, lease, without=True)
        assert arrangement.aside == {B}
        assert arrangement.set_aside == (B,)
        aside = (await broker.asides([PARTITION], "mail"))[PARTITION][B]
        assert (aside.entry, aside.reason, aside.readable) == (first.id, "missing", True)
        await append(broker, "b")
        assert await fetch_ids(broker, lease) == ["b"]
        assert await fetch_ids(broker, await own_lease(broker)) == ["b"]

    async def test_what_a_receiver_has_not_finished_goes_with_it(self, broker: Broker) -> None:
        await append(broker, "a", "b", "c", "d")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        a, b, c, _ = await fetch_new(broker, lease)
        await broker.note(lease, {a.id: note("a", B), b.id: note("b", A), c.id: note("x", B)})
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        apart = await own_lease(broker)
        fetched = await broker.fetch(apart, 10, inherit=True)
        # The note of "c" is about another event.
        assert [entry.fields[b"id"] for entry in fetched.entries] == [b"b", b"c", b"d"]
        assert [entry.notes for entry in fetched.entries] == [note("b", A), note("x", B), None]
        assert [entry.deliveries for entry in fetched.entries] == [2, 2, 2]
        assert await take_over(broker, lease, count=10) == ["a", "b", "c", "d"]

    async def test_what_was_put_aside_for_a_receiver_does_not_go_with_it(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        a, b = await fetch_new(broker, lease)
        await broker.bury(lease, letter_of(a, B))
        await broker.bury(lease, letter_of(b, A))
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        assert await fetch_ids(broker, await own_lease(broker), inherit=True) == ["b"]

    async def test_many_unfinished_entries_are_moved_in_pages(self, broker: Broker) -> None:
        await append(broker, *(f"e{number}" for number in range(450)))
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        while await fetch_ids(broker, lease):
            pass
        lease = await next_tenure(broker, lease)
        assert (await broker.arrange(lease, ONE, OTHER)).more
        # Nobody reads what is not complete; the next tenure goes on, with or without the receiver.
        apart = await own_lease(broker)
        assert (await broker.fetch(apart, 10, inherit=True)).ended
        assert not (await broker.asides([PARTITION], "mail"))[PARTITION][B].readable
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease)
        assert len(await take_over(broker, apart, count=100)) == 450

    async def test_a_receiver_comes_back_when_it_has_finished_everything(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        (a,) = await fetch_new(broker, lease)
        await broker.settle(lease, [a.id], left_out={B: a.id})
        lease = await next_tenure(broker, lease)
        assert (await arrange(broker, lease)).aside == {B}, "it has read nothing"
        apart = await own_lease(broker)
        (entry,) = await fetch_new(broker, apart)
        assert (await arrange(broker, lease)).near, "it has not finished the entry"
        await broker.settle(apart, [entry.id])
        assert (await arrange(broker, lease)).near, "a tenure may call it"
        assert (await broker.fetch(apart, 10, inherit=False)).ended
        await broker.release(apart)
        arrangement = await arrange(broker, lease)
        assert arrangement.returned == (B,)
        assert arrangement.aside == set()
        assert arrangement.floors == {B: a.id}
        assert await broker.asides([PARTITION], "mail") == {}
        # A late call of a former tenure does not make the group again.
        apart = await own_lease(broker)
        assert (await broker.fetch(apart, 10, inherit=True)).ended
        assert await finished(broker) == a.id.next

    async def test_a_receiver_that_is_to_come_back_reads_no_further_than_its_group(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        await fetch_new(broker, lease)
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease)
        await append(broker, "b", "c")
        apart = await own_lease(broker)
        assert await fetch_ids(broker, apart, count=2) == ["a", "b"]
        # The tenure has something unfinished, and goes on.
        fetched = await broker.fetch(apart, 10, inherit=False)
        assert (len(fetched.entries), fetched.ended) == (0, False)
        # The next owner of the partition leaves the receiver out again.
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        assert await fetch_ids(broker, apart) == ["c"]

    async def test_a_receiver_is_behind_or_at_its_group_before_it_comes_back(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        await fetch_new(broker, lease)
        apart = await own_lease(broker)
        (entry,) = await fetch_new(broker, apart, count=1)
        await broker.settle(apart, [entry.id])
        await broker.release(apart)
        lease = await next_tenure(broker, lease)
        arrangement = await arrange(broker, lease)
        assert arrangement.aside == {B}
        assert arrangement.near, "it has to read one entry more"

    async def test_a_receiver_is_near_if_it_can_catch_up_in_a_moment(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        await fetch_new(broker, lease)
        apart = await own_lease(broker)
        (entry,) = await fetch_new(broker, apart)
        await broker.settle(apart, [entry.id])
        await broker.release(apart)
        # The server's clock numbers the entries.
        await asyncio.sleep(NEAR + 0.1)
        await append(broker, "b")
        await fetch_new(broker, lease)
        lease = await next_tenure(broker, lease)
        assert not (await arrange(broker, lease)).near

    async def test_an_entry_is_settled_only_while_who_was_left_out_is_set_aside(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        await arrange(broker, lease)
        a, _ = await fetch_new(broker, lease)
        # As after the loss of the arrangement that has set the receiver aside.
        assert await is_lost(broker.settle(lease, [a.id], left_out={B: a.id}))
        assert await is_lost(broker.settle(lease, [a.id], left_out={"app.unknown": a.id}))
        await broker.settle(lease, [a.id])

    async def test_nothing_up_to_its_floor_is_a_receivers_own(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        a, b = await fetch_new(broker, lease)
        apart = await own_lease(broker)
        for entry in await fetch_new(broker, apart):
            await broker.settle(apart, [entry.id])
        await broker.release(apart)
        lease = await next_tenure(broker, lease)
        assert (await arrange(broker, lease)).floors == {B: b.id}
        await broker.settle(lease, [a.id], left_out={B: a.id})
        # And when it is set aside again, the rest is not given to it.
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        assert await fetch_ids(broker, await own_lease(broker), inherit=True) == []

    async def test_a_new_receiver_begins_with_what_is_kept_or_with_what_comes(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease, without=True)
        (a,) = await fetch_new(broker, lease)
        arrangement = await broker.arrange(
            lease, {A: OLD, "app.kept": NEW, "app.now": LATER}, OTHER
        )
        assert arrangement.aside == {B, "app.kept"}
        assert arrangement.floors == {"app.now": a.id}
        apart = await acquire(broker, "own", group="mail/app.kept")
        assert await fetch_ids(broker, apart, count=1) == ["a"]

    async def test_a_new_receiver_of_another_program_begins_likewise(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        await fetch_new(broker, lease)
        arrangement = await broker.arrange(lease, BOTH, {"app.kept": NEW, "app.now": LATER})
        assert arrangement.aside == {"app.kept", "app.now"}
        await append(broker, "b")
        for name, events in {"app.kept": ["a", "b"], "app.now": ["b"]}.items():
            apart = await acquire(broker, "own", group=f"mail/{name}")
            assert await fetch_ids(broker, apart, inherit=True) == events

    async def test_a_receiver_that_the_caller_does_not_know_is_left_out(
        self, broker: Broker
    ) -> None:
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        lease = await next_tenure(broker, lease)
        # A program that has not yet learned of B.
        assert (await broker.arrange(lease, ONE, {})).aside == {B}

    async def test_beside_older_programs_nothing_is_set_aside(self, broker: Broker) -> None:
        lease = await acquire(broker, "w1")
        for _ in range(2):
            arrangement = await broker.arrange(lease, ONE, OTHER, sets_aside=False)
            assert arrangement == Arrangement()
            lease = await next_tenure(broker, lease)
            await arrange(broker, lease)

    async def test_a_stream_waits_for_receivers_that_are_set_aside(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        await arrange(broker, lease, without=True)
        a, b = await fetch_new(broker, lease)
        await broker.settle(lease, [a.id, b.id], left_out={B: b.id})
        assert await finished(broker) < a.id
        assert await broker.oldest_unfinished(PARTITION, "mail") == a.id
        # What is finished out of order counts up to the first gap.
        apart = await own_lease(broker)
        first, second = await fetch_new(broker, apart)
        await broker.settle(apart, [second.id])
        assert await finished(broker) == a.id
        assert await broker.oldest_unfinished(PARTITION, "mail") == a.id
        await broker.settle(apart, [first.id])
        assert await finished(broker) == b.id.next
        assert await broker.oldest_unfinished(PARTITION, "mail") is None

    async def test_a_forgotten_receiver_keeps_nothing(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        await arrange(broker, lease, without=True)
        (a,) = await fetch_new(broker, lease)
        await broker.settle(lease, [a.id], left_out={B: a.id})
        arrangement = await broker.arrange(lease, ONE, {}, [B])
        assert arrangement.aside == set()
        assert arrangement.dropped in ({B: 1}, {B: None})
        assert await finished(broker) == a.id.next
        assert await broker.arrange(lease, ONE, {}, [B]) == Arrangement()

    async def test_held_rows_belong_to_the_receiver_wherever_it_reads(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        (a,) = await fetch_new(broker, lease, count=1)
        await park(broker, lease, a)
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        apart = await own_lease(broker)
        (b,) = await fetch_new(broker, apart)
        # The row was held in the group of all.
        assert ROW in await broker.held(PARTITION, "mail")
        last = (await broker.parked(PARTITION, "mail", ROW))[0].id
        assert await broker.park(apart, ROW, letter_of(b), begin=False, after=last)
        assert await parked_ids(broker) == ["a", "b"]
        for _ in range(2):
            (first,) = await broker.parked(PARTITION, "mail", ROW)
            await broker.unpark(apart, ROW, first, first.letter)
        assert await broker.held(PARTITION, "mail") == {}
        assert len(await broker.dead_letters(PARTITION, "mail")) == 2
        await broker.settle(apart, [b.id], [Kept(b.id, B, b"b")])

    async def test_an_observer_sees_the_groups_of_receivers_apart(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        await arrange(broker, lease, without=True)
        (stream,) = await broker.survey([PARTITION])
        assert [group.group for group in stream.groups] == ["mail"]
        assert [group.group for group in stream.asides] == [OWN]
        assert [backlog.group for backlog in await broker.backlog(PARTITION)] == ["mail"]

    async def test_a_group_that_is_forgotten_takes_its_receivers_along(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        await arrange(broker, lease, without=True)
        # Nothing of the group may keep the stream.
        await broker.forget(PARTITION, "mail")
        (stream,) = await broker.survey([PARTITION])
        assert (stream.groups, stream.asides) == ([], [])
        assert await broker.asides([PARTITION], "mail") == {}

    @pytest.mark.parametrize("without", [False, True])
    async def test_only_the_holder_of_the_lease_arranges(
        self, broker: Broker, without: bool
    ) -> None:
        old = await acquire(broker, "w1")
        await next_tenure(broker, old)
        assert await is_lost(arrange(broker, old, without=without))

    async def test_a_new_epoch_clears_floors(self, broker: Broker) -> None:
        head = await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        (a,) = await fetch_new(broker, lease)
        # A new receiver that begins with events to come has a floor.
        late = {**BOTH, "app.now": LATER}
        assert (await broker.arrange(lease, late, {})).floors == {"app.now": a.id}
        # A publisher that misses its head begins another epoch.
        lost = type(head)(head.epoch, head.entry, "another event")
        await broker.inspect(PARTITION, lost, "epoch-2")
        lease = await next_tenure(broker, lease)
        assert (await broker.arrange(lease, late, {})).floors == {}


class SettingAsideAgainTopic:
    """A receiver is set aside a second time, for another reason or after its return."""

    async def test_a_receiver_is_set_aside_for_a_reason(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        await arrange(broker, lease)
        await broker.arrange(lease, ONE, OTHER, reasons={B: "slow"})
        await broker.arrange(lease, ONE, OTHER, reasons={B: "paused"})
        aside = (await broker.asides([PARTITION], "mail"))[PARTITION][B]
        assert aside.reason == "slow", "the first one stays"

    async def test_what_was_finished_beyond_the_group_does_not_come_again(
        self, broker: Broker
    ) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        (first,) = await fetch_new(broker, lease)
        await broker.settle(lease, [first.id])
        lease = await next_tenure(broker, lease)
        await arrange(broker, lease, without=True)
        await append(broker, "b", "c")
        apart = await own_lease(broker)
        entries = await fetch_new(broker, apart)
        await broker.settle(apart, [entry.id for entry in entries])
        await broker.release(apart)
        lease = await next_tenure(broker, lease)
        returned = await arrange(broker, lease)
        assert (returned.returned, returned.floors) == ((B,), {B: entries[-1].id})
        # The group has read nothing of that when the receiver is set aside again.
        lease = await next_tenure(broker, lease)
        assert (await arrange(broker, lease, without=True)).aside == {B}
        await append(broker, "d")
        assert await fetch_ids(broker, await own_lease(broker, "own2")) == ["d"]
        assert await fetch_ids(broker, lease) == ["b", "c", "d"]
