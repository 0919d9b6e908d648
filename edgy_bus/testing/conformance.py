"""What every broker must do: one suite, run against each of them.

Subclass `BrokerConformance` in a test module and give it a `broker` fixture that yields a connected, empty broker.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from edgy_bus.brokers.base import (
    START,
    Broker,
    DeadLetter,
    Entry,
    EntryId,
    HeldState,
    Lease,
    Parked,
    Protocol,
    RowKey,
    StreamHead,
)
from edgy_bus.codec import Wire
from edgy_bus.errors import LeaseLost
from edgy_bus.events import Partition

PARTITION = Partition("accounts.User", "0")
ROW = RowKey("app.receiver", "7")


def wires(*ids: str) -> list[Wire]:
    return [Wire(one, b'{"id":"%s"}' % one.encode(), b"{}") for one in ids]


async def stand(broker: Broker, *ids: str) -> StreamHead:
    """Publish events from wherever the stream stands; answers the new head."""
    head = (await broker.inspect(PARTITION, StreamHead(), "epoch-1")).head
    if not ids:
        return head
    entries = await broker.publish(PARTITION, head, wires(*ids))
    assert entries is not None
    return StreamHead(head.epoch, entries[-1], ids[-1])


async def take(broker: Broker, owner: str, ttl: float = 30, group: str = "mail") -> Lease:
    lease = await broker.acquire(PARTITION, group, owner, ttl)
    assert lease is not None
    return lease


async def lost(call: Awaitable[Any]) -> bool:
    """Whether a call answers that the lease is lost."""
    try:
        await call
    except LeaseLost:
        return True
    return False


async def names(
    broker: Broker, lease: Lease, *, inherit: bool = False, count: int = 100
) -> list[str]:
    fetched = await broker.fetch(lease, count, inherit=inherit)
    return [entry.fields[b"id"].decode() for entry in fetched.entries]


async def refuses(broker: Broker, lease: Lease) -> bool:
    try:
        await broker.fetch(lease, 1, inherit=True)
    except LeaseLost:
        return True
    return False


def letter_of(entry: Entry, reason: str = "no such user") -> DeadLetter:
    return DeadLetter(entry.id, ROW.receiver, reason, 3, entry.fields)


async def park(broker: Broker, lease: Lease, *entries: Entry) -> None:
    """Hold `ROW` with the first of them, and park the others behind it."""
    after = START
    for number, entry in enumerate(entries):
        letter, notes = letter_of(entry), b"parked %d" % number
        partition = await broker.park(lease, ROW, letter, notes, begin=not number, after=after)
        assert partition is not None
        after = partition


async def parked(broker: Broker) -> list[str]:
    """The ids of the row's parked events."""
    return [
        one.letter.fields[b"id"].decode()
        for one in await broker.parked(PARTITION, "mail", ROW, 100)
    ]


class BrokerConformance:
    """Publishing by compare-and-set, fetching under a lease, settling, notes, dead letters, held rows, membership."""

    async def test_a_batch_is_appended_only_at_the_expected_head(self, broker: Broker) -> None:
        head = await stand(broker, "a", "b")
        assert await broker.publish(PARTITION, StreamHead(head.epoch), wires("c")) is None
        assert (
            await broker.publish(
                PARTITION, StreamHead("other", head.entry, head.event_id), wires("c")
            )
            is None
        )
        assert (
            await broker.publish(PARTITION, StreamHead(head.epoch, head.entry, "x"), wires("c"))
            is None
        )
        assert await broker.publish(PARTITION, head, wires("c")) is not None
        assert await names(broker, await take(broker, "w")) == ["a", "b", "c"]

    async def test_a_stream_without_an_epoch_takes_nothing(self, broker: Broker) -> None:
        assert await broker.publish(PARTITION, StreamHead(), wires("a")) is None

    async def test_inspect_tells_what_lies_behind_a_head(self, broker: Broker) -> None:
        old = await stand(broker, "a")
        new = await stand(broker, "b", "c")
        state = await broker.inspect(PARTITION, old, "unused")
        assert state.head == new
        assert [mark.event_id for mark in state.behind] == ["b", "c"]
        other = await broker.inspect(PARTITION, StreamHead("lost", old.entry, "a"), "unused")
        assert other.behind[0].event_id == "a"
        assert len(other.behind) == 3

    async def test_a_long_stream_is_told_page_by_page_while_it_is_the_same(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a", "b")
        head = await stand(broker, "c", "d", "e")
        state = await broker.inspect(PARTITION, StreamHead("other"), "unused", 2)
        assert (state.head, state.complete) == (head, False)
        marks = list(state.behind)
        assert [(mark.event_id, mark.header) for mark in marks] == [
            ("a", b'{"id":"a"}'),
            ("b", b'{"id":"b"}'),
        ]
        await stand(broker, "later")
        while marks[-1].entry < head.entry:
            page = await broker.landmarks(PARTITION, head, marks[-1].entry, 2)
            assert page, "the stream is the same"
            marks += page
        assert [mark.event_id for mark in marks] == ["a", "b", "c", "d", "e"]
        for replaced in (
            replace(head, epoch="x"),
            replace(head, event_id="x"),
            replace(head, entry=EntryId(2**60, 0)),
        ):
            assert await broker.landmarks(PARTITION, replaced, START, 2) is None

    async def test_a_lease_has_one_holder_and_rising_tokens(self, broker: Broker) -> None:
        first = await take(broker, "w1")
        assert await broker.acquire(PARTITION, "mail", "w2", 30) is None
        assert await broker.renew(first, 30)
        await broker.release(first)
        second = await take(broker, "w2")
        assert second.token > first.token
        assert not await broker.renew(first, 30)
        await broker.release(first)
        assert await broker.renew(second, 30)

    async def test_leases_are_renewed_together(self, broker: Broker) -> None:
        gone = await take(broker, "w1", group="search")
        await broker.release(gone)
        held = [await take(broker, "w1", group=group) for group in ("mail", "search")]
        assert list(await broker.renew_all([held[0], gone, held[1]], 30)) == [True, False, True]
        assert list(await broker.renew_all([], 30)) == []

    async def test_who_lost_the_lease_can_do_nothing(self, broker: Broker) -> None:
        await stand(broker, "a")
        old = await take(broker, "w1", ttl=0.05)
        assert await names(broker, old) == ["a"]
        await asyncio.sleep(0.1)
        assert await refuses(broker, old)
        new = await take(broker, "w2")
        assert await refuses(broker, old)
        for act in (broker.settle(old, [START]), broker.note(old, {START: b"x"})):
            try:
                await act
            except LeaseLost:
                continue
            raise AssertionError("a former owner was heard")
        assert await names(broker, new, inherit=True) == ["a"]

    async def test_what_a_former_owner_left_comes_first_and_alone(self, broker: Broker) -> None:
        await stand(broker, "a", "b", "c")
        old = await take(broker, "w1")
        read = await broker.fetch(old, 2, inherit=True)
        await broker.note(old, {read.entries[1].id: b"half"})
        await broker.settle(old, [read.entries[0].id])
        await broker.release(old)
        new = await take(broker, "w2")
        first = await broker.fetch(new, 10, inherit=True)
        assert first.inherited
        assert [(entry.fields[b"id"], entry.notes) for entry in first.entries] == [(b"b", b"half")]
        assert await names(broker, new, inherit=True) == ["c"]

    async def test_nothing_new_is_read_when_what_former_owners_left_has_come_back(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a", "b")
        old = await take(broker, "w1")
        assert await names(broker, old, count=1) == ["a"]
        await broker.release(old)
        new = await take(broker, "w2")
        assert await lost(broker.fetch(new, 10, inherit=False))
        assert await names(broker, new, inherit=True) == ["a"]
        assert await names(broker, new, inherit=False) == ["b"]

    async def test_inheritance_is_paged_oldest_first(self, broker: Broker) -> None:
        await stand(broker, "a", "b", "c", "d")
        old = await take(broker, "w1")
        assert await names(broker, old) == ["a", "b", "c", "d"]
        await broker.release(old)
        new = await take(broker, "w2")
        assert await names(broker, new, inherit=True, count=3) == ["a", "b", "c"]
        assert await names(broker, new, inherit=True, count=3) == ["d"]
        assert await names(broker, new, inherit=True, count=3) == []

    async def test_inherited_entries_that_are_gone_are_named(self, broker: Broker) -> None:
        head = await stand(broker, "a", "b")
        old = await take(broker, "w1")
        assert len(await names(broker, old)) == 2
        await broker.release(old)
        assert await broker.trim(PARTITION, head, head.entry) == 1
        fetched = await broker.fetch(await take(broker, "w2"), 10, inherit=True)
        assert [entry.fields[b"id"] for entry in fetched.entries] == [b"b"]
        assert len(fetched.missing) == 1

    async def test_groups_are_strangers(self, broker: Broker) -> None:
        await stand(broker, "a")
        mail, search = await take(broker, "w"), await take(broker, "w", group="search")
        assert await names(broker, mail) == ["a"]
        assert await names(broker, search) == ["a"]
        assert {one.group: one.pending for one in await broker.backlog(PARTITION)} == {
            "mail": 1,
            "search": 1,
        }

    async def test_trimming_waits_for_the_slowest_group(self, broker: Broker) -> None:
        assert await broker.progress(PARTITION, StreamHead()) == {}
        head = await stand(broker, "a", "b")
        mail, search = await take(broker, "w"), await take(broker, "w", group="search")
        read = await broker.fetch(mail, 10, inherit=False)
        held = await broker.fetch(search, 1, inherit=False)
        await broker.settle(mail, [entry.id for entry in read.entries])
        assert await broker.progress(PARTITION, replace(head, epoch="another")) == {}
        assert await broker.progress(PARTITION, replace(head, event_id="another")) == {}
        assert await broker.progress(PARTITION, head) == {
            "mail": read.entries[-1].id.next,
            "search": held.entries[0].id,
        }

    async def test_a_stream_that_is_not_the_one_it_was_is_not_trimmed(self, broker: Broker) -> None:
        head = await stand(broker, "a", "b")
        beyond = EntryId(2**60, 0)
        for other in (
            replace(head, epoch="x"),
            replace(head, event_id="x"),
            replace(head, entry=beyond),
        ):
            assert await broker.trim(PARTITION, other, beyond) == 0
        assert await broker.trim(PARTITION, head, head.entry) == 1

    async def test_a_loss_begins_another_epoch_in_which_old_leases_are_worth_nothing(
        self, broker: Broker
    ) -> None:
        head = await stand(broker, "a")
        lease = await take(broker, "w")
        assert (await broker.inspect(PARTITION, head, "not needed")).epoch == head.epoch
        gone = replace(head, entry=EntryId(head.entry.ms + 10**6, 0), event_id="gone")
        state = await broker.inspect(PARTITION, gone, "epoch-2")
        assert (state.epoch, [mark.event_id for mark in state.behind]) == ("epoch-2", ["a"])
        assert await broker.publish(PARTITION, head, wires("b")) is None
        entry = Entry(head.entry, {b"id": b"a"})
        assert await lost(broker.fetch(lease, 1, inherit=True))
        assert await lost(broker.settle(lease, [head.entry]))
        assert await lost(broker.note(lease, {head.entry: b"1"}))
        assert await lost(
            broker.bury(lease, DeadLetter(head.entry, "r", "no", 1, entry.fields), b"n")
        )
        await broker.release(lease)
        assert await names(broker, await take(broker, "w2")) == ["a"]

    async def test_a_group_that_is_forgotten_holds_nothing_up_and_keeps_its_dead_letters(
        self, broker: Broker
    ) -> None:
        head = await stand(broker, "a", "b")
        lease = await take(broker, "w")
        entry = (await broker.fetch(lease, 1, inherit=False)).entries[0]
        letter = DeadLetter(entry.id, "r", "no", 1, entry.fields)
        await broker.bury(lease, letter, b"buried")
        await broker.forget(PARTITION, "mail")
        await broker.forget(PARTITION, "nobody")
        assert await broker.progress(PARTITION, head) == {}
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        assert await names(broker, lease) == ["a", "b"], "a group that comes back begins anew"

    async def test_dead_letters_keep_the_raw_entry(self, broker: Broker) -> None:
        await stand(broker, "a")
        lease = await take(broker, "w")
        entry = (await broker.fetch(lease, 1, inherit=False)).entries[0]
        letter = DeadLetter(entry.id, "app.receiver", "no such user", 3, entry.fields)
        await broker.bury(lease, letter, b"buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        assert [one.dead for one in await broker.backlog(PARTITION)] == [1]

    async def test_burying_again_because_the_answer_was_lost_keeps_one_letter(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a")
        lease = await take(broker, "w")
        entry = (await broker.fetch(lease, 1, inherit=False)).entries[0]
        letter = DeadLetter(entry.id, "app.receiver", "no such user", 3, entry.fields)
        for _ in range(2):
            await broker.bury(lease, letter, b"buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        other = DeadLetter(entry.id, "app.other", "no such user", 3, entry.fields)
        await broker.bury(lease, other, b"both buried")
        assert await broker.dead_letters(PARTITION, "mail") == [letter, other]

    async def test_nothing_is_built_on_what_was_put_aside_and_lost(self, broker: Broker) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        a = (await broker.fetch(lease, 10, inherit=False)).entries[0]
        gone = letter_of(a).kept
        other = DeadLetter(a.id, "app.other", "no such user", 3, a.fields)
        assert await lost(broker.settle(lease, [a.id], [gone]))
        assert await lost(broker.note(lease, {a.id: b"n"}, [gone]))
        assert await lost(broker.bury(lease, other, b"n", [gone]))
        assert await lost(broker.park(lease, ROW, other, b"n", [gone], begin=True, after=START))
        assert await broker.dead_letters(PARTITION, "mail") == []
        assert await broker.held(PARTITION, "mail") == {}
        assert await names(broker, await self._next(broker, lease), inherit=True) == ["a", "b"]

    async def test_what_was_put_aside_is_known_until_its_entry_is_settled(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a")
        lease = await take(broker, "w")
        (a,) = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, a)
        parked_before = letter_of(a).kept
        other = DeadLetter(a.id, "app.other", "no such user", 3, a.fields)
        await broker.bury(lease, other, b"both", [parked_before])
        await broker.note(lease, {a.id: b"all"}, [parked_before, other.kept])
        imposter = parked_before._replace(event_id=b"another")
        assert await lost(broker.settle(lease, [a.id], [parked_before, imposter]))
        for _ in range(2):  # the answer to the first call was lost
            await broker.settle(lease, [a.id], [parked_before, other.kept])
        assert await lost(broker.note(lease, {a.id: b"late"}, [parked_before]))
        assert await names(broker, await self._next(broker, lease), inherit=True) == []

    async def test_parked_events_keep_their_order_and_what_they_were(self, broker: Broker) -> None:
        await stand(broker, *"abc")
        lease = await take(broker, "w")
        assert await broker.held(PARTITION, "mail") == {}
        assert await broker.parked(PARTITION, "mail", ROW) == []
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, *entries)
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await broker.held(PARTITION, "search") == {}
        assert [one.letter for one in await broker.parked(PARTITION, "mail", ROW, 2)] == [
            letter_of(entry) for entry in entries[:2]
        ]
        assert await parked(broker) == ["a", "b", "c"]

    async def test_parking_again_because_the_answer_was_lost_parks_once(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        for _ in range(2):
            await park(broker, lease, *entries)
        assert await parked(broker) == ["a", "b"]

    async def test_nothing_is_parked_where_parked_events_were_lost(self, broker: Broker) -> None:
        await stand(broker, "a", "b", "c")
        lease = await take(broker, "w")
        a, b, c = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, a, b)
        (first,) = await broker.parked(PARTITION, "mail", ROW)
        tails = await broker.tails(PARTITION, "mail", [ROW, RowKey("app.other", "7")])
        assert list(tails) == [ROW]
        assert await lost(broker.park(lease, ROW, letter_of(c), b"n", begin=False, after=first.id))
        assert await lost(broker.park(lease, ROW, letter_of(c), b"n", begin=True, after=START))
        assert await broker.park(lease, ROW, letter_of(c), b"n", begin=False, after=tails[ROW])
        assert await parked(broker) == ["a", "b", "c"]

    async def test_nothing_is_parked_behind_a_row_that_is_not_held(self, broker: Broker) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        assert not await broker.park(
            lease, ROW, letter_of(entries[0]), b"n", begin=False, after=START
        )
        assert await parked(broker) == []
        await park(broker, lease, entries[0])
        assert not await broker.park(
            lease, RowKey("app.other", "7"), letter_of(entries[1]), b"n", begin=False, after=START
        )
        assert not await broker.park(
            lease, RowKey(ROW.receiver, "8"), letter_of(entries[1]), b"n", begin=False, after=START
        )
        (again,) = (await broker.fetch(await self._next(broker, lease), 1, inherit=True)).entries
        assert again.notes == b"parked 0", "what was parked is known to the next owner"

    async def _next(self, broker: Broker, lease: Lease) -> Lease:
        await broker.release(lease)
        return await take(broker, "next")

    async def test_who_lost_the_lease_parks_nothing(self, broker: Broker) -> None:
        head = await stand(broker, "a")
        old = await take(broker, "w")
        (entry,) = (await broker.fetch(old, 1, inherit=False)).entries
        new = await self._next(broker, old)
        await park(broker, new, entry)
        (first,) = await broker.parked(PARTITION, "mail", ROW)
        for late in (old, new):
            assert await lost(
                broker.park(late, ROW, letter_of(entry), b"n", begin=True, after=START)
            )
            assert await lost(broker.hold(late, ROW, HeldState(retrying=True)))
            assert await lost(broker.unpark(late, ROW, first))
            # The lease of the second one is good, but its epoch is over.
            await broker.inspect(PARTITION, replace(head, entry=EntryId(2**60, 0)), "another epoch")
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await parked(broker) == ["a"]

    async def test_a_row_is_held_until_its_last_parked_event_is_finished(
        self, broker: Broker
    ) -> None:
        await stand(broker, *"abc")
        lease = await take(broker, "w")
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, *entries[:2])
        await broker.hold(lease, ROW, HeldState(retrying=True, attempts=2))
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True, attempts=2)}
        first, second = await broker.parked(PARTITION, "mail", ROW, 2)
        assert await broker.unpark(lease, ROW, first)
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}, (
            "attempts are the next one's own"
        )
        await broker.hold(lease, ROW, HeldState())
        assert await broker.unpark(lease, ROW, first), "the answer to the first call was lost"
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await broker.unpark(lease, ROW, replace(second, letter=first.letter)), (
            "a number that another event had"
        )
        assert await parked(broker) == ["b"]
        assert not await broker.unpark(lease, ROW, second)
        assert not await broker.unpark(lease, ROW, second)
        assert await broker.held(PARTITION, "mail") == {}
        assert not await broker.park(
            lease, ROW, letter_of(entries[2]), b"n", begin=False, after=START
        )
        await broker.hold(lease, ROW, HeldState(retrying=True))
        assert await broker.held(PARTITION, "mail") == {}, (
            "a late word about a row that has nothing parked"
        )

    async def test_somebody_decides_about_a_row_that_waits(self, broker: Broker) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        assert not await broker.decide(PARTITION, "mail", ROW, skip=False)
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, *entries)
        assert await broker.decide(PARTITION, "mail", ROW, skip=False)
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
        assert not await broker.decide(PARTITION, "mail", ROW, skip=True), "it is being handled"
        assert await parked(broker) == ["a", "b"]
        assert await broker.dead_letters(PARTITION, "mail") == []

    async def test_a_parked_event_that_is_left_out_is_a_dead_letter(self, broker: Broker) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        entries = (await broker.fetch(lease, 10, inherit=False)).entries
        await park(broker, lease, *entries)
        assert await broker.decide(PARTITION, "mail", ROW, skip=True)
        assert await broker.dead_letters(PARTITION, "mail") == [letter_of(entries[0])]
        assert await parked(broker) == ["b"]
        await broker.hold(lease, ROW, HeldState())
        assert await broker.decide(PARTITION, "mail", ROW, skip=True)
        assert await parked(broker) == []
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}, (
            "its owner ends the hold"
        )
        assert not await broker.unpark(lease, ROW, Parked(START, letter_of(entries[0])))
        assert await broker.held(PARTITION, "mail") == {}
        assert [one.reason for one in await broker.dead_letters(PARTITION, "mail")] == [
            "no such user"
        ] * 2

    async def test_a_group_that_is_forgotten_keeps_its_held_rows(self, broker: Broker) -> None:
        await stand(broker, "a", "b")
        lease = await take(broker, "w")
        await park(broker, lease, *(await broker.fetch(lease, 10, inherit=False)).entries)
        await broker.forget(PARTITION, "mail")
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState()}
        assert await parked(broker) == ["a", "b"]

    async def test_deliveries_count_the_tenures_that_had_an_entry_in_hand(
        self, broker: Broker
    ) -> None:
        await stand(broker, "a")
        counts = []
        lease = await take(broker, "w")
        for _ in range(3):
            (entry,) = (await broker.fetch(lease, 1, inherit=True)).entries
            counts.append(entry.deliveries)
            lease = await self._next(broker, lease)
        assert counts == [1, 2, 3]

    async def test_a_bell_rings_for_news_and_can_be_interrupted(self, broker: Broker) -> None:
        head = await stand(broker, "a")
        bell = broker.bell()
        try:
            assert await bell.wait({PARTITION: START}, 5) == {PARTITION}
            assert await bell.wait({PARTITION: head.entry}, 0.05) == set()
            waiting = asyncio.create_task(bell.wait({PARTITION: head.entry}, 20))
            await asyncio.sleep(0.05)
            await stand(broker, "b")
            assert await waiting == {PARTITION}
            waiting = asyncio.create_task(bell.wait({PARTITION: EntryId(2**60, 0)}, 20))
            await asyncio.sleep(0.05)
            await bell.interrupt()
            assert await waiting == set()
        finally:
            await bell.close()

    async def test_members_come_and_go(self, broker: Broker) -> None:
        await broker.join("mail", "w1", 30, b"1")
        assert set((await broker.join("mail", "w2", 0.05, b"2")).alive) == {"w1", "w2"}
        await asyncio.sleep(0.1)
        members = await broker.members("mail")
        assert (list(members.alive), dict(members.reports)) == (["w1"], {"w1": b"1", "w2": b"2"})
        await broker.leave("mail", "w1")
        await asyncio.sleep(0.01)
        assert list((await broker.members("mail")).alive) == []

    async def test_a_protocol_only_rises(self, broker: Broker) -> None:
        assert await broker.keep_protocol(Protocol(2, 1)) == Protocol(2, 1)
        assert await broker.keep_protocol(Protocol(1, 0)) == Protocol(2, 1)
        assert await broker.keep_protocol(Protocol(5, 1)) == Protocol(5, 1)
        assert await broker.keep_protocol(Protocol(4, 3)) == Protocol(5, 3)
        assert await broker.declared() == {}

    async def test_the_first_to_declare_decides(self, broker: Broker) -> None:
        assert await broker.declare("accounts.User", 8) == 8
        assert await broker.declare("accounts.User", 4) == 8
        assert dict(await broker.declared()) == {"accounts.User": 8}
