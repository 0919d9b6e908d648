"""Administration: members, and the removal of groups."""

import asyncio

from edgy_bus.brokers.base import ActionEntry, Broker, Members, Pause, Presence, Protocol
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    is_lost,
    letter_of,
)


class AdministrationTopic:
    """Members are counted by the broker's clock, and removal removes no more than promised."""

    async def test_members_come_and_go(self, broker: Broker) -> None:
        await broker.join("mail", "w1", 30, b"1")
        assert set((await broker.join("mail", "w2", 0.05, b"2")).alive) == {"w1", "w2"}
        await asyncio.sleep(0.1)
        members = await broker.members("mail")
        assert (list(members.alive), dict(members.reports)) == (["w1"], {"w1": b"1", "w2": b"2"})
        # Older releases register a worker whose rounds stand still without a report.
        await broker.join("mail", "w1", 30, b"")
        assert dict((await broker.members("mail")).reports)["w1"] == b"1"
        await broker.leave("mail", "w1")
        # A worker leaves by the broker's clock, which counts milliseconds.
        await asyncio.sleep(0.01)
        assert list((await broker.members("mail")).alive) == []

    async def test_groups_register_together(self, broker: Broker) -> None:
        await broker.join("mail", "w1", 30, b"1")
        mail, search = await broker.join_all(
            [Presence("mail", "w2", b"2"), Presence("search", "w3", b"3")], 30
        )
        assert isinstance(mail, Members)
        assert isinstance(search, Members)
        assert (set(mail.alive), set(search.alive)) == ({"w1", "w2"}, {"w3"})
        assert (mail.reports, search.reports) == ({}, {})
        assert await broker.reports("mail", ["w2", "w9", "w1"]) == {"w1": b"1", "w2": b"2"}
        assert await broker.reports("mail", []) == {}
        assert list(await broker.join_all([], 30)) == []

    async def test_a_pause_reaches_workers_and_lookers_until_it_ends(self, broker: Broker) -> None:
        assert not await broker.resume("mail")
        made = await broker.pause("mail", None, "ana: é mends it")
        assert made == Pause(None, "ana: é mends it")
        # Workers stop for it, and lookers show it.
        assert (await broker.join("mail", "w", 30, b"")).pause == made
        assert (await broker.members("mail")).pause == made
        assert (await broker.members("other")).pause is None
        assert await broker.resume("mail")
        assert (await broker.join("mail", "w", 30, b"")).pause is None

    async def test_a_pause_ends_by_the_clock_of_the_broker(self, broker: Broker) -> None:
        # A pause takes the place of another one, also if it ends earlier.
        await broker.pause("mail", None, "for ever")
        short = await broker.pause("mail", 0.05, "")
        long = await broker.pause("mail", 3600, "")
        assert short.until is not None
        assert long.until is not None
        assert 3590 < long.until - short.until < 3660
        await broker.pause("mail", 0.05, "")
        await asyncio.sleep(0.1)
        assert (await broker.members("mail")).pause is None
        assert not await broker.resume("mail")

    async def test_receivers_are_paused_beside_each_other_and_their_group(
        self, broker: Broker
    ) -> None:
        assert not await broker.resume("mail", receiver="shop.send")
        long = await broker.pause("mail", None, "ana: its API is away", receiver="shop.send")
        short = await broker.pause("mail", 0.05, "", receiver="shop.bill")
        for members in (await broker.members("mail"), await broker.join("mail", "w", 30, b"")):
            assert members.pause is None
            assert members.paused == {"shop.send": long, "shop.bill": short}
        await asyncio.sleep(0.1)
        # The group's own pause is none of a receiver with an empty name.
        whole = await broker.pause("mail", None, "ana")
        members = await broker.join("mail", "w", 30, b"")
        assert (members.pause, members.paused) == (whole, {"shop.send": long})
        assert not await broker.resume("mail", receiver="shop.bill"), "it has ended by itself"
        assert await broker.resume("mail", receiver="shop.send")
        members = await broker.members("mail")
        assert (members.pause, members.paused) == (whole, {})

    async def test_a_breaker_opens_and_is_half_open_until_it_is_closed(
        self, broker: Broker
    ) -> None:
        assert (await broker.members("mail")).tripped == {}
        await broker.trip("mail", "shop.send", 60, 1, "HTTP 503: é away")
        # Another worker, which has seen the same.
        await broker.trip("mail", "shop.send", 0.05, 1, "late")
        await broker.trip("mail", "shop.bill", 0.05, 1, "")
        await asyncio.sleep(0.1)
        for members in (await broker.members("mail"), await broker.join("mail", "w", 30, b"")):
            trip, short = members.tripped["shop.send"], members.tripped["shop.bill"]
            assert (trip.step, trip.reason, trip.is_open) == (1, "HTTP 503: é away", True)
            assert 50 < trip.remaining <= 60
            assert (short.remaining, short.is_open) == (0, False)
        before = trip.age
        await asyncio.sleep(0.05)
        await broker.trip("mail", "shop.send", 120, 2, "again")
        trip = (await broker.members("mail")).tripped["shop.send"]
        assert (trip.step, trip.reason) == (2, "again")
        assert 110 < trip.remaining <= 120
        assert trip.age > before, "since the first time"
        assert await broker.reset("mail", "shop.send")
        assert not await broker.reset("mail", "shop.send")
        assert (await broker.members("mail")).tripped.keys() == {"shop.bill"}
        assert (await broker.members("other")).tripped == {}

    async def test_an_error_or_a_note_may_quote_bytes_that_are_no_text(
        self, broker: Broker
    ) -> None:
        # As `os.fsdecode` makes of such a name.
        await broker.trip("mail", "shop.send", 60, 1, "no file \udc80")
        await broker.pause("mail", None, "no file \udc80")
        members = await broker.members("mail")
        assert members.tripped["shop.send"].reason.startswith("no file")
        assert members.pause is not None
        assert members.pause.note.startswith("no file")

    async def test_a_protocol_only_rises(self, broker: Broker) -> None:
        assert await broker.keep_protocol(Protocol(2, 1)) == Protocol(2, 1)
        assert await broker.keep_protocol(Protocol(1, 0)) == Protocol(2, 1)
        assert await broker.keep_protocol(Protocol(5, 1)) == Protocol(5, 1)
        assert await broker.keep_protocol(Protocol(4, 3)) == Protocol(5, 3)
        assert await broker.declared() == {}

    async def test_the_oldest_unfinished_entry_is_read_or_unread(self, broker: Broker) -> None:
        assert await broker.oldest_unfinished(PARTITION, "mail") is None, "an empty stream"
        await append(broker, "a", "b", "c")
        lease = await acquire(broker, "w")
        slow = await acquire(broker, "w", group="slow")
        await fetch_new(broker, slow, 2)
        first, second = await fetch_new(broker, lease, 2)
        assert await broker.oldest_unfinished(PARTITION, "mail") == first.id
        await broker.settle(lease, [first.id])
        assert await broker.oldest_unfinished(PARTITION, "mail") == second.id
        await broker.settle(lease, [second.id])
        (third,) = await fetch_new(broker, slow, 1)
        assert await broker.oldest_unfinished(PARTITION, "mail") == third.id, "not yet read"
        assert await broker.oldest_unfinished(PARTITION, "nobody") == first.id
        await broker.settle(lease, [entry.id for entry in await fetch_new(broker, lease)])
        assert await broker.oldest_unfinished(PARTITION, "mail") is None
        assert await broker.oldest_unfinished(PARTITION, "slow") == first.id

    async def test_a_group_that_is_forgotten_holds_nothing_up_and_keeps_its_dead_letters(
        self, broker: Broker
    ) -> None:
        head = await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease, 1)
        letter = letter_of(entry)
        await broker.bury(lease, letter)
        await broker.forget(PARTITION, "mail")
        await broker.forget(PARTITION, "nobody")
        # Trimming no longer waits for the group.
        assert await broker.progress(PARTITION, head) == {}
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        assert await is_lost(fetch_ids(broker, lease)), "its notes are gone"
        await broker.release(lease)
        lease = await acquire(broker, "w")
        assert await fetch_ids(broker, lease) == ["a", "b"], "a group that comes back begins anew"

    async def test_erasing_leaves_nothing(self, broker: Broker) -> None:
        await append(broker, "a")
        await broker.declare("accounts.User", 1)
        await broker.join("mail", "w", 30, b"1")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        await broker.bury(lease, letter_of(entry))
        await broker.record(ActionEntry("ana", "pause"))
        await broker.erase()
        assert await broker.backlog(PARTITION) == []
        assert await broker.dead_letters(PARTITION, "mail") == []
        assert dict(await broker.declared()) == {}
        assert list(await broker.actions()) == []
        assert list((await broker.members("mail")).alive) == []
        assert not await broker.renew(lease, 30)
