"""One tenure of a partition: order, retries, dead letters, hand-over, and what ends it."""

import asyncio
import math
import time
from typing import Any

import pytest

from edgy_bus.brokers.base import START, EntryId, Fetched, Lease, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire, unpack
from edgy_bus.errors import BrokerError, BrokerNotReady, BrokerUnavailable
from edgy_bus.retrying import Retry, dead_letter
from edgy_bus.runtime.jobs import STREAM
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.term import Term
from tests.support import PARTITION, Told, block, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


async def test_events_of_a_row_are_handled_in_order_and_acknowledged() -> None:
    seen: list[tuple[str, int]] = []

    async def receiver(sender: str, instance: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        seen.append((instance.id, instance.n))

    broker = MemoryBroker()
    await publish(broker, *(event(str(n % 3), n) for n in range(1, 61)))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 60)
    await group.end(tenure)
    for row in "012":
        assert [n for subject, n in seen if subject == row] == sorted(
            n for subject, n in seen if subject == row
        )
    assert await group.unfinished() == 0
    assert group.stats.handled == 60


async def test_rows_are_handled_side_by_side() -> None:
    both = asyncio.Barrier(2)

    async def receiver(sender: str, instance: Any, **kwargs: Any) -> None:
        await both.wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 2)
    await group.end(tenure)


async def test_a_failing_receiver_is_retried_and_holds_up_its_own_row_alone() -> None:
    seen: list[str] = []
    mended = asyncio.Event()

    async def fragile(sender: str, instance: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "1" and not mended.is_set():
            raise ValueError("not yet")
        seen.append(f"fragile {event.subject}.{event.sequence}")

    async def sturdy(sender: str, instance: Any, event: Any, **kwargs: Any) -> None:
        seen.append(f"sturdy {event.subject}.{event.sequence}")

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("2", 3))
    many = Retry(attempts=1000, delay=0.01, factor=1)
    group = Group(
        broker, subscribe(fragile, name="fragile", retry=many), subscribe(sturdy, name="sturdy")
    )
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 4 and group.stats.retries > 2)
    assert sorted(seen) == ["fragile 2.3", "sturdy 1.1", "sturdy 1.2", "sturdy 2.3"]
    mended.set()
    await eventually(lambda: len(seen) == 6)
    assert seen[4:] == ["fragile 1.1", "fragile 1.2"]
    await group.end(tenure)
    assert await group.unfinished() == 0


async def test_after_the_last_attempt_the_event_is_a_dead_letter_and_the_row_goes_on() -> None:
    seen: list[int] = []

    async def receiver(sender: str, instance: Any, event: Any, **kwargs: Any) -> None:
        if event.sequence == 1:
            raise ValueError("never")
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: seen == [2])
        await group.end(tenure)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert (letter.receiver, letter.attempts, letter.reason) == ("r", 3, "ValueError: never")
    assert set(letter.fields) == {b"id", b"head", b"data"}
    assert await group.unfinished() == 0
    assert len(told.of("receiver.retried")) == 2
    assert len(told.of("receiver.gave_up")) == 1
    assert told.of("letters.removed") == []


async def test_letters_beyond_the_limits_of_the_worker_are_removed_and_reported() -> None:
    async def receiver(sender: str, **kwargs: Any) -> Any:
        return dead_letter("no such user")

    now = time.time()
    broker = MemoryBroker(lambda: now)
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    group = Group(broker, subscribe(receiver), most_letters=2, letter_retention=3600.0)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 3)
        await group.end(tenure)
        now += 7200
        await publish(broker, event("1", 4))
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 4)
        await group.end(tenure)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert unpack(letter.fields).sequence == 4
    assert told.of("letters.removed") == [
        {"group": "mail", "partition": str(PARTITION), "count": 1},
        {"group": "mail", "partition": str(PARTITION), "count": 2},
    ]


async def test_what_is_not_an_event_is_a_dead_letter_and_stops_nothing() -> None:
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    broker = MemoryBroker()
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    foreign = [
        Wire("1", b"not json", b"{}"),
        Wire("2", b"{}", b"{}"),
        Wire("3", b"[" * 100_000, b"{}"),
    ]
    assert await broker.publish(PARTITION, state.head, foreign)
    strayed = event("1", 7)._replace(model="other.Model")
    await publish(broker, strayed, event("1", 8))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: seen == [8])
    await group.end(tenure)
    letters = await broker.dead_letters(PARTITION, "mail")
    assert [letter.receiver for letter in letters] == [STREAM] * 4
    assert "other.Model does not belong" in letters[3].reason
    assert await group.unfinished() == 0


async def test_data_that_cannot_be_read_fails_like_a_receiver() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise AssertionError("must not be called")

    broker = MemoryBroker()
    good = event("1", 1)
    await publish(broker, good)
    stream = broker._streams[PARTITION]
    next(iter(stream.entries.values()))[b"data"] = b"[1]"
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert "not a JSON object" in letter.reason


async def test_signals_that_nobody_wants_are_acknowledged() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None: ...

    broker = MemoryBroker()
    await publish(broker, *(event("1", n, "post_delete") for n in range(1, 5)))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: not _unread(broker))
    await group.end(tenure)
    assert await group.unfinished() == 0
    assert group.stats.handled == 0


def _unread(broker: MemoryBroker) -> bool:
    groups = broker._streams[PARTITION].groups
    return not groups or bool(groups["mail"].pending) or groups["mail"].position == EntryId(0, 0)


async def test_the_next_owner_begins_with_what_the_former_left_and_knows_its_attempts() -> None:
    seen: list[str] = []
    broken = asyncio.Event()

    async def first(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(f"first {event.sequence}")
        if event.sequence == 2:
            raise ValueError("broken")

    async def slow(sender: str, event: Any, **kwargs: Any) -> None:
        if event.sequence == 2:
            broken.set()
            await asyncio.Event().wait()

    patient = Retry(attempts=5, delay=3600, jitter=0)
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    group = Group(
        broker, subscribe(first, name="a", retry=patient), subscribe(slow, name="b"), grace=0.0
    )
    tenure = await group.begin()
    await eventually(lambda: broken.is_set() and group.stats.retries == 1)
    await group.end(tenure)
    assert await group.pending() == 2, "2 is half done, 3 has not begun"

    async def second(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(f"second {event.sequence}")

    await publish(broker, event("1", 4))
    hurried = Group(broker, subscribe(second, name="b"))
    tenure = await hurried.begin("other")
    await eventually(lambda: len([one for one in seen if one.startswith("second")]) == 3)
    await group.end(tenure)
    assert seen == ["first 1", "first 2", "second 2", "second 3", "second 4"]


async def test_attempts_and_their_time_survive_the_owner() -> None:
    async def receiver(sender: str, **kwargs: Any) -> None:
        raise ValueError("always")

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=Retry(attempts=2, delay=0.3, jitter=0)))
    tenure = await group.begin()
    await eventually(lambda: group.stats.retries == 1)
    await group.end(tenure)
    tenure = await group.begin("other")
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    assert letter.attempts == 2


async def test_a_receiver_that_is_done_is_not_called_again_by_the_next_owner() -> None:
    calls: list[str] = []
    stuck = asyncio.Event()

    async def quick(sender: str, **kwargs: Any) -> None:
        calls.append("quick")

    async def slow(sender: str, **kwargs: Any) -> None:
        calls.append("slow")
        stuck.set()
        if calls.count("slow") == 1:
            await asyncio.Event().wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(quick, name="quick"), subscribe(slow, name="slow"), grace=0.0)
    tenure = await group.begin()
    await eventually(lambda: stuck.is_set() and "quick" in calls and group.stats.handled == 1)
    await group.end(tenure)
    tenure = await group.begin("other")
    await eventually(lambda: calls.count("slow") == 2)
    await group.end(tenure)
    assert calls.count("quick") == 1
    assert await group.unfinished() == 0


async def test_draining_lets_running_receivers_finish_and_starts_no_other() -> None:
    started, go = asyncio.Event(), asyncio.Event()
    finished: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        started.set()
        await go.wait()
        finished.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await started.wait()
    tenure.finish()
    go.set()
    await tenure.wait()
    assert finished == [1]
    assert await group.pending() == 1
    assert not tenure.lost


async def test_a_receiver_that_outlasts_the_grace_time_is_cancelled_and_its_event_kept() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver), grace=0.05)
    tenure = await group.begin()
    await started.wait()
    await group.end(tenure)
    assert cancelled.is_set()
    assert await group.pending() == 1


async def test_a_lease_that_was_not_renewed_in_time_ends_everything() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin(lasts=0.2)
    await started.wait()
    await tenure.wait()
    assert tenure.lost
    assert cancelled.is_set()
    assert await group.pending() == 1


async def test_a_renewal_that_comes_while_a_tenure_ends_begins_nothing() -> None:
    cleaning, go = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await go.wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver), concurrency=1)
    tenure = await group.begin(lasts=0.2)
    await cleaning.wait()
    tenure.term.extend(asyncio.get_running_loop().time(), 30)
    go.set()
    await tenure.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert calls == [1]
    assert group.tools.slots.take(lambda: None), "the slot is free"


async def test_a_renewed_lease_goes_on() -> None:
    go = asyncio.Event()
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        await go.wait()
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin(lasts=0.2)
    await eventually(group.pending)
    tenure.term.extend(asyncio.get_running_loop().time(), 30)
    await asyncio.sleep(0.3)
    go.set()
    await eventually(lambda: seen == [1])
    await group.end(tenure)
    assert not tenure.lost


async def test_the_timer_of_a_tenure_reads_the_limit_again() -> None:
    """A renewal only writes the limit: the timer that was set before must not end the tenure."""
    broker = MemoryBroker()
    group = Group(broker, subscribe(_nothing))
    tenure = await group.begin(lasts=0.1)
    await eventually(lambda: tenure.position is not None)
    tenure.term.extend(asyncio.get_running_loop().time(), 0.4)
    await asyncio.sleep(0.2)
    assert tenure.running
    with Told() as told:
        await tenure.wait()
    assert tenure.lost
    assert told.of("tenure.lost")


async def _nothing(sender: str, **kwargs: Any) -> None: ...


async def test_a_tenure_has_not_ended_before_its_receivers_have_cleaned_up() -> None:
    """The lease must not go to another worker while a receiver of this one still does something."""
    cleaning, go = asyncio.Event(), asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await go.wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver), grace=0.0)
    tenure = await group.begin(lasts=0.3)
    await eventually(group.pending)
    tenure.finish(0.0)
    await cleaning.wait()
    await asyncio.sleep(0.4)
    assert tenure.running, "the consumer goes on renewing the lease"
    go.set()
    await tenure.wait()
    assert not tenure.lost


async def test_a_tenure_that_is_ended_before_it_has_begun_reads_nothing() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(_nothing))
    for end in (Tenure.finish, Tenure.lose):
        lease = await broker.acquire(PARTITION, "mail", "w", 30)
        assert lease is not None
        tenure = Tenure(lease, asyncio.get_running_loop().time() + 30, group.tools)
        await tenure.start()
        end(tenure)
        await tenure.wait()
        await broker.release(lease)
    assert group.stats.handled == 0
    assert await group.pending() == 0


async def test_a_tenure_that_has_ended_stands_in_line_for_no_slot() -> None:
    """Or it would stay in memory until another partition gives its slot back."""
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(_nothing), concurrency=1, calls=1)
    slots = group.tools.slots
    assert slots.take(lambda: None), "another partition has the slot"
    tenure = await group.begin()
    await eventually(lambda: slots.wanted)
    await group.end(tenure)
    assert not slots.wanted


async def test_stopping_a_tenure_drains_it() -> None:
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: seen == [1])
    await tenure.stop()
    assert not tenure.running
    assert await group.unfinished() == 0


async def test_a_lease_that_is_renewed_just_after_it_seemed_to_be_over_goes_on() -> None:
    """A runner sees the lease run out, and ends. Before the timer's turn, the lease is renewed."""
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)
        if len(seen) == 1:
            # The function runs before the timer, which is late as well.
            loop.call_soon(tenure.term.extend, loop.time(), 30)
            block(0.3)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin(lasts=0.2)
    await eventually(lambda: seen == [1, 2])
    await group.end(tenure)
    assert not tenure.lost


@pytest.mark.parametrize("refused", [True, False])
async def test_a_receiver_does_not_begin_when_the_lease_was_refused_or_has_run_out(
    refused: bool,
) -> None:
    """The keeper writes in its own thread, while a receiver blocks the loop."""
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)
        if refused:
            tenure.term.refuse()
        else:
            block(0.4)

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    tenure = await Group(broker, subscribe(receiver)).begin(lasts=0.3)
    await tenure.wait()
    assert seen == [1]
    assert tenure.lost


async def test_a_refused_lease_does_not_come_back() -> None:
    term = Term(Lease(PARTITION, "mail", "w", 1, "epoch"), 10.0)
    term.extend(10.0, 10.0)
    assert term.valid_until == 19.5, "a margin before the end of the lease"
    term.extend(5.0, 10.0)
    assert term.valid_until == 19.5, "an answer that comes late shortens nothing"
    term.refuse()
    term.extend(20.0, 10.0)
    assert not term.may_begin()


async def test_a_lease_that_somebody_else_has_ends_the_tenure_at_the_next_word_to_the_broker() -> (
    None
):
    entered, go = asyncio.Event(), asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        entered.set()
        await go.wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await entered.wait()
    await broker.release(tenure.lease)
    usurper = await broker.acquire(PARTITION, "mail", "usurper", 30)
    assert usurper is not None
    go.set()
    await tenure.wait()
    assert tenure.lost
    inherited = await broker.fetch(usurper, 10, inherit=True)
    assert len(inherited.entries) == 1, "what the zombie did was not acknowledged"


class Doubtful(MemoryBroker):
    """Answers to chosen calls get lost after they took effect, or are never made."""

    def __init__(self) -> None:
        super().__init__()
        self.lose_fetch = False
        self.refuse: dict[str, int] = {}

    def _maybe(self, name: str) -> None:
        if self.refuse.get(name, 0) > 0:
            self.refuse[name] -= 1
            raise BrokerUnavailable("away")

    async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
        fetched = await super().fetch(lease, count, **where)
        if self.lose_fetch and fetched.entries:
            self.lose_fetch = False
            raise BrokerUnavailable("the answer was lost")
        return fetched

    async def settle(self, lease: Lease, *what: Any) -> None:
        self._maybe("settle")
        await super().settle(lease, *what)

    async def note(self, lease: Lease, *what: Any, **how: Any) -> None:
        self._maybe("note")
        await super().note(lease, *what, **how)

    async def bury(self, lease: Lease, *what: Any) -> int:
        self._maybe("bury")
        return await super().bury(lease, *what)


async def test_a_lost_answer_of_a_read_ends_the_tenure_and_the_next_finds_the_entries() -> None:
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    broker = Doubtful()
    broker.lose_fetch = True
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await tenure.wait()
    assert not tenure.lost
    assert seen == []
    await broker.release(tenure.lease)
    await publish(broker, event("1", 3))
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 3)
    await group.end(tenure)
    assert seen == [1, 2, 3]


async def test_a_read_that_the_broker_refused_is_repeated_by_the_same_tenure() -> None:
    class Refusing(MemoryBroker):
        refusals = 5
        looks = 5

        async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
            if self.refusals:
                self.refusals -= 1
                raise BrokerNotReady("a replica")
            return await super().fetch(lease, count, **where)

        async def held(self, *where: Any) -> Any:
            if self.looks:
                self.looks -= 1
                raise BrokerNotReady("loading")
            return await super().held(*where)

    async def receiver(sender: str, **kwargs: Any) -> None: ...

    broker = Refusing()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver), backoff=0.01)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.handled == 1)
        broker.refusals = 10**9
        await group.end(tenure)
    assert told.of("tenure.in_doubt") == []


async def test_each_page_of_inherited_entries_begins_after_the_page_before() -> None:
    pages: list[tuple[EntryId, list[EntryId]]] = []

    class Watched(MemoryBroker):
        async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
            fetched = await super().fetch(lease, count, **where)
            if fetched.inherited:
                pages.append((where["after"], [entry.id for entry in fetched.entries]))
            return fetched

    async def receiver(sender: str, **kwargs: Any) -> None: ...

    broker = Watched()
    await publish(broker, *(event(str(n), n) for n in range(1, 41)))
    dead = await broker.acquire(PARTITION, "mail", "dead", 30)
    assert dead is not None
    await broker.fetch(dead, 40, inherit=False)
    await broker.release(dead)
    group = Group(broker, subscribe(receiver), prefetch=10)
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 40)
    await group.end(tenure)
    assert len(pages) >= 4
    assert [after for after, _ in pages] == [START, *(page[-1] for _, page in pages[:-1])]


async def test_a_tenure_ends_when_numbers_are_given_out_again() -> None:
    seen: list[int] = []

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        seen.append(event.sequence)

    async def is_settled() -> bool:
        return await group.pending() == 0

    broker = MemoryBroker(lambda: 1.0)
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: seen == [1, 2] and tenure.position is not None)
    await eventually(is_settled)
    stream = broker._streams[PARTITION]
    newest = stream.newest()
    assert newest is not None
    del stream.entries[newest]  # a failover to a replica that had not received it
    stream.last = min(stream.entries)
    stream.groups["mail"].position = stream.last
    await publish(broker, event("1", 3))
    assert stream.newest() == newest
    tenure.wake()
    await tenure.wait()
    assert tenure.lost
    assert await group.pending() == 1, "the other event with this number is not acknowledged"


async def test_a_broker_that_is_away_for_a_while_is_told_later() -> None:
    broker = Doubtful()
    broker.refuse = {"settle": 2, "note": 2, "bury": 2}
    attempts = 0

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        nonlocal attempts
        if event.subject == "2":
            attempts += 1
            if attempts == 2:  # until it is finished, what is known of it is owed to the broker
                await eventually(lambda: not broker.refuse["note"])
            raise ValueError("no")

    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: broker.refuse == {"settle": 0, "note": 0, "bury": 0})
    await eventually(lambda: group.stats.dead == 1)
    await group.end(tenure)
    assert len(await broker.dead_letters(PARTITION, "mail")) == 1
    assert await group.unfinished() == 0


async def test_an_error_that_no_retry_mends_ends_the_tenure_and_is_told() -> None:
    class Broken(MemoryBroker):
        async def settle(self, lease: Lease, *what: Any) -> None:
            raise BrokerError("WRONGTYPE")

    async def receiver(sender: str, **kwargs: Any) -> None: ...

    broker = Broken()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: not tenure.running)
    assert isinstance(tenure.failure, BrokerError)
    assert told.of("service.failed")
    (failed,) = told.of("tenure.failed")
    assert (failed["group"], failed["partition"]) == ("mail", str(PARTITION))
    assert failed["error"] == "BrokerError: WRONGTYPE"
    assert "in settle" in failed["trace"]


async def test_no_more_is_read_than_fits_in_the_hand() -> None:
    go = asyncio.Event()

    async def receiver(sender: str, **kwargs: Any) -> None:
        await go.wait()

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 101)))
    group = Group(broker, subscribe(receiver), prefetch=10)
    tenure = await group.begin()
    await eventually(group.pending)
    for _ in range(50):
        await asyncio.sleep(0)
    assert await group.pending() == 10
    go.set()
    await eventually(lambda: group.stats.handled == 100)
    await group.end(tenure)


async def test_only_so_many_receivers_run_at_the_same_time() -> None:
    running, most = 0, 0

    async def receiver(sender: str, **kwargs: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 51)))
    group = Group(broker, subscribe(receiver), concurrency=3)
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 50)
    await group.end(tenure)
    assert most == 3


def compute(seconds: float) -> None:
    """Keep the event loop busy."""
    time.sleep(seconds)


@pytest.mark.parametrize(("turn", "handled"), [(0.001, (1, 2)), (math.inf, (10,))])
async def test_a_slot_that_others_want_is_given_up_when_the_turn_is_over(
    turn: float, handled: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up: list[int] = []

    async def receiver(sender: str, **kwargs: Any) -> None:
        if not group.stats.handled:
            assert not group.tools.slots.take(lambda: given_up.append(group.stats.handled))
        compute(0.001)

    monkeypatch.setattr("edgy_bus.runtime.scheduling._TURN", turn)
    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n) for n in range(1, 11)))
    group = Group(broker, subscribe(receiver), concurrency=1, calls=1)
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 10)
    await group.end(tenure)
    assert given_up[0] in handled, "the tenure may have stood in line before, for a second runner"


async def test_a_receiver_that_needs_no_order_is_called_side_by_side_for_one_row() -> None:
    running, together = 0, 0
    all_here = asyncio.Event()

    async def receiver(sender: str, event: Any, **kwargs: Any) -> None:
        nonlocal running, together
        running += 1
        together = max(together, running)
        if running == 3:
            all_here.set()
        async with asyncio.timeout(5):
            await all_here.wait()
        running -= 1

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    group = Group(broker, subscribe(receiver, ordered=False))
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 3)
    await group.end(tenure)
    assert together == 3


async def test_a_stream_at_rest_is_read_ever_more_seldom_until_there_is_news() -> None:
    class Counting(MemoryBroker):
        reads = 0

        async def fetch(self, *given: Any, **options: Any) -> Fetched:
            self.reads += 1
            return await super().fetch(*given, **options)

    broker = Counting()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(_nothing), block=0.005)
    tenure = await group.begin()
    await asyncio.sleep(0.7)
    # After 0.01, 0.02, 0.04 … seconds; every 0.01 s were 70 reads.
    assert broker.reads < 15
    await publish(broker, event("1", 2))
    tenure.wake()
    await eventually(lambda: group.stats.handled == 2)
    before = broker.reads
    await asyncio.sleep(0.1)
    assert broker.reads > before, "soon after news, the pauses are short again"
    await group.end(tenure)
