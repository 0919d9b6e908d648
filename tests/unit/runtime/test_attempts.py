"""Count attempts at inherited entries before each attempt.

A process does not handle the same event again after the event is finished.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import delete

from edgy_bus.brokers.base import EntryId, Fetched, Kept, Lease, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire, pack
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.retrying import Retry
from edgy_bus.runtime import acknowledger, lanes
from edgy_bus.runtime.inbox import inbox
from edgy_bus.runtime.jobs import STREAM
from edgy_bus.runtime.outcome import Note, unpack_notes
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import QUICK, Effects, Group, subscribe


class Noting(MemoryBroker):
    """Keeps what is noted, and may keep the answer back."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[bytes] = []
        self.noted, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        await super().note(lease, notes, kept, number=number)
        self.notes += notes.values()
        self.noted.set()
        await self.go.wait()


async def kill(group: Group, tenure: Any) -> None:
    """The process dies: nothing is said to the broker any more, and the lease runs out."""
    await tenure.abort()
    await group.broker.release(tenure.lease)


async def test_an_event_at_which_processes_die_again_and_again_is_given_up() -> None:
    entered = asyncio.Event()
    calls: list[int] = []

    async def deadly(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        if event.sequence == 1:
            entered.set()
            await asyncio.Event().wait()

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    group = Group(broker, subscribe(deadly, retry=QUICK))
    for number in range(1 + QUICK.attempts):
        tenure = await group.begin(f"w{number}")
        await entered.wait()
        entered.clear()
        await kill(group, tenure)
    with Told() as told:
        tenure = await group.begin("last")
        await eventually(lambda: calls[-1] == 2)
        await group.end(tenure)
    assert calls == [1, 1, 1, 1, 2], "the first attempt is not counted, three are"
    (letter,) = await broker.dead_letters(PARTITION, "mail")
    reason = "the process of its worker ended in the last of 3 attempts"
    assert (letter.attempts, letter.reason) == (3, reason)
    assert [fields["reason"] for fields in told.of("receiver.gave_up")] == [reason]
    assert await group.unfinished() == 0


async def test_nothing_is_noted_before_an_event_is_handled_for_the_first_time() -> None:
    entered = asyncio.Event()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    broker = Noting()
    one = event("1", 1)
    await publish(broker, one)
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await entered.wait()
    entered.clear()
    assert broker.notes == []
    await kill(group, tenure)
    tenure = await group.begin("other")
    await entered.wait()
    assert [unpack_notes(one.id, note) for note in broker.notes] == [{"r": Note(1)}]
    await kill(group, tenure)


async def test_an_attempt_that_is_not_made_because_the_owner_stops_is_not_counted() -> None:
    entered = asyncio.Event()
    calls: list[str] = []

    async def first(sender: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def second(sender: Any, **kwargs: Any) -> None:
        calls.append("handled")

    broker = Noting()
    await publish(broker, event("1", 1))
    once = Retry(attempts=1)
    dying = Group(broker, subscribe(first, retry=once))
    tenure = await dying.begin()
    await entered.wait()
    await kill(dying, tenure)
    group = Group(broker, subscribe(second, retry=once))
    broker.go.clear()
    tenure = await group.begin("other")
    await broker.noted.wait()
    tenure.finish()
    broker.go.set()
    await group.end(tenure)
    assert calls == []
    tenure = await group.begin("next")
    await eventually(lambda: calls or group.stats.dead)
    await group.end(tenure)
    assert calls == ["handled"]


async def test_a_count_that_is_taken_back_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In between, the death of the process would leave an attempt that did not begin."""
    entered = asyncio.Event()

    async def receive(sender: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.Event().wait()

    broker = Noting()
    one = event("1", 1)
    await publish(broker, one)
    group = Group(broker, subscribe(receive, retry=QUICK))
    tenure = await group.begin()
    await entered.wait()
    await kill(group, tenure)
    monkeypatch.setattr(acknowledger, "_GATHERING", 3_600)
    broker.go.clear()
    tenure = await group.begin("other")
    await broker.noted.wait()
    # As an offer of the partition to another worker does.
    tenure.term.let_begin(False)
    broker.go.set()
    await eventually(lambda: len(broker.notes) == 2)
    await kill(group, tenure)
    counted, taken_back = [unpack_notes(one.id, note) for note in broker.notes]
    assert (counted, taken_back) == ({"r": Note(1)}, {})


async def test_what_is_counted_for_one_receiver_is_not_forgotten_while_another_one_goes_on() -> (
    None
):
    """Both have an attempt begun at one entry; one of them fails before the process dies."""
    failed = asyncio.Event()
    calls: list[str] = []

    async def deadly(sender: Any, **kwargs: Any) -> None:
        calls.append("deadly")
        await asyncio.Event().wait()

    async def failing(sender: Any, **kwargs: Any) -> None:
        failed.set()
        raise ValueError("no")

    broker = MemoryBroker()
    one = event("1", 1)
    await publish(broker, one)
    patient = Retry(attempts=5, delay=3600)
    group = Group(broker, subscribe(deadly, name="a"), subscribe(failing, name="b", retry=patient))
    for owner in ("w", "other"):
        tenure = await group.begin(owner)
        await eventually(
            lambda owner=owner: failed.is_set() and len(calls) == (1 if owner == "w" else 2)
        )
        if owner == "other":
            await eventually(lambda: _noted(broker, one.id).get("a") == Note(1))
            assert _noted(broker, one.id)["b"].attempts == 1
        await kill(group, tenure)


def _noted(broker: MemoryBroker, event_id: str) -> dict[str, Note]:
    return unpack_notes(
        event_id, next(iter(broker._streams[PARTITION].groups["mail"].notes.values()), None)
    )


# What comes again


async def again(broker: MemoryBroker, *events: Any) -> None:
    """The same events as other entries, as after a loss."""
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    assert await broker.publish(PARTITION, state.head, [pack(one) for one in events]) is not None


async def test_a_process_does_not_handle_again_what_comes_as_another_entry() -> None:
    calls: list[int] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)

    broker = MemoryBroker()
    first, second = event("1", 1), event("1", 2)
    await publish(broker, first)
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin()
    await eventually(lambda: calls == [1])
    await group.end(tenure)
    await again(broker, first, second)
    tenure = await group.begin("another tenure")
    await eventually(lambda: 2 in calls)
    await group.end(tenure)
    assert calls == [1, 2]
    assert (group.stats.handled, group.stats.skipped) == (2, 1)
    assert await group.unfinished() == 0, "the repeat is acknowledged"
    other = Group(broker, subscribe(receiver))
    await again(broker, first)
    tenure = await other.begin("another process")
    await eventually(lambda: calls == [1, 2, 1])
    await other.end(tenure)


async def test_each_receiver_is_remembered_alone_and_what_failed_is_not() -> None:
    calls: list[str] = []

    async def good(sender: Any, **kwargs: Any) -> None:
        calls.append("good")

    async def bad(sender: Any, **kwargs: Any) -> None:
        calls.append("bad")
        raise ValueError("no")

    broker = MemoryBroker()
    one = event("1", 1)
    await publish(broker, one)
    group = Group(
        broker, subscribe(good, name="good"), subscribe(bad, name="bad", retry=Retry(attempts=1))
    )
    tenure = await group.begin()
    await eventually(lambda: sorted(calls) == ["bad", "good"] and group.stats.dead == 1)
    await again(broker, one)
    tenure.wake()
    await eventually(lambda: calls.count("bad") == 2)
    await group.end(tenure)
    assert calls.count("good") == 1


async def test_a_receiver_with_an_inbox_is_asked_every_time(effects: Effects) -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        await effects.model.query.create(n=event.sequence)

    broker = MemoryBroker()
    one = event("1", 1)
    await publish(broker, one)
    group = Group(broker, subscribe(receiver, inbox=effects.registry.database))
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 1)
    # Its database is restored from a backup: the inbox decides, not this process.
    await effects.registry.database.run(delete(inbox))
    await again(broker, one)
    tenure.wake()
    await eventually(lambda: group.stats.handled == 2)
    await group.end(tenure)
    assert await effects.all() == [1, 1]
    course = group.tools.window.course(tenure.lease)
    assert not course.has_finished(one.id, "r"), "it takes the place of others"


# Memory


async def test_entries_that_are_not_events_do_not_fill_memory_if_the_broker_cannot_bury(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NoGraves(MemoryBroker):
        fetched = 0
        tried = 0
        open = False

        async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
            found = await super().fetch(lease, count, **where)
            self.fetched += len(found.entries)
            return found

        async def bury(self, lease: Lease, *what: Any) -> int:
            self.tried += 1
            if not self.open:
                raise BrokerUnavailable("full")
            return await super().bury(lease, *what)

    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    monkeypatch.setattr(lanes, "MOST", 20)
    broker = NoGraves()
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    await broker.publish(
        PARTITION, state.head, [Wire(str(n), b"not json", b"{}") for n in range(100)]
    )
    group = Group(broker, subscribe(receiver), prefetch=10, backoff=0.01)
    tenure = await group.begin()
    await eventually(lambda: broker.tried > 50)
    assert broker.fetched == 20
    broker.open = True
    await eventually(lambda: group.stats.dead == 100)
    await group.end(tenure)
    assert {letter.receiver for letter in await broker.dead_letters(PARTITION, "mail", 1000)} == {
        STREAM
    }
    assert await group.unfinished() == 0
