"""The order in which a tenure reports what its receivers have finished."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Entry, EntryId, Kept, Lease
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerError, BrokerUnavailable, LeaseLost
from edgy_bus.runtime import acknowledger as acknowledger_module
from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.jobs import Handling
from tests.support import PARTITION, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

LEASE = Lease(PARTITION, "mail", "w", 1, "epoch")


class Recorder(MemoryBroker):
    """Records reports; refuses notes while `full`, waits until `open`, and fails with `error`."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.refused = 0
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.calls: list[tuple[str, list[int]]] = []
        self.numbers: list[int] = []

    def let_one_pass(self) -> None:
        """Let only the call pass that waits now."""
        self.open.set()
        self.open.clear()

    async def settle(
        self, lease: Lease, entries: Sequence[EntryId], kept: Sequence[Kept] = (), *_: Any
    ) -> None:
        self.asked += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        if entries:
            self.calls.append(("settle", [entry.ms for entry in entries]))

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        await self.open.wait()
        if self.full:
            self.refused += 1
            raise BrokerUnavailable("OOM command not allowed")
        self.calls.append(("note", [entry.ms for entry in notes]))
        self.numbers.append(number)


@pytest.fixture
def broker() -> Recorder:
    return Recorder()


@asynccontextmanager
async def running(broker: Recorder, backoff: float = 0.05) -> AsyncIterator[Acknowledger]:
    acknowledger = Acknowledger(broker, LEASE, backoff, lambda: None)
    reports = asyncio.create_task(acknowledger.run())
    try:
        yield acknowledger
    finally:
        reports.cancel()
        await asyncio.wait([reports])


@pytest.fixture
async def acknowledger(broker: Recorder) -> AsyncIterator[Acknowledger]:
    async with running(broker) as acknowledger:
        yield acknowledger


def handling(number: int, row: str | None, unfinished: int = 0) -> Handling:
    entry = Entry(EntryId(number, 0), {b"id": str(number).encode()})
    return Handling(entry, {}, unfinished, row=row)


async def test_a_later_entry_of_a_row_is_settled_after_the_note_about_the_earlier(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.full = True
    acknowledger.owe(handling(1, "a", unfinished=1))
    acknowledger.owe(handling(2, "a"))
    acknowledger.owe(handling(3, "b"))
    acknowledger.owe(handling(4, None))
    await eventually(lambda: broker.calls == [("settle", [3, 4])])
    broker.full = False
    await eventually(lambda: len(broker.calls) == 3)
    assert broker.calls[1:] == [("note", [1]), ("settle", [2])]


async def test_everything_that_is_owed_is_reported_when_the_report_has_caught_up(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.open.clear()
    acknowledger.owe(handling(1, "a"))
    await eventually(lambda: broker.asked == 1)
    acknowledger.owe(handling(2, "a"))
    acknowledger.owe(handling(3, "b", unfinished=1))
    caught_up = asyncio.create_task(acknowledger.catch_up())
    await asyncio.sleep(0.05)
    assert not caught_up.done()
    broker.open.set()
    await caught_up
    assert sorted(entry for _, entries in broker.calls for entry in entries) == [1, 2, 3]


async def test_nothing_is_owed_and_the_report_has_caught_up(acknowledger: Acknowledger) -> None:
    await acknowledger.catch_up()


async def test_pages_are_settled_in_the_order_of_entries(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    numbers = [*range(1, 1_202, 2), *range(2, 1_202, 2)]
    for number in numbers:
        acknowledger.owe(handling(number, "a"))
    await acknowledger.catch_up()
    assert [len(entries) for _, entries in broker.calls] == [500, 500, 201]
    assert [entry for _, entries in broker.calls for entry in entries] == sorted(numbers)


async def test_notes_are_written_in_pages_in_the_order_of_entries(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    for number in range(700, 0, -1):
        acknowledger.owe(handling(number, str(number), unfinished=1))
    await acknowledger.catch_up()
    assert [call for call, _ in broker.calls] == ["note", "note"]
    assert [entry for _, entries in broker.calls for entry in entries] == [*range(1, 701)]


async def test_an_earlier_entry_of_a_row_is_not_held_back_by_a_later_note(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.full = True
    acknowledger.owe(handling(2, "a", unfinished=1))
    acknowledger.owe(handling(1, "a"))
    await eventually(lambda: broker.calls == [("settle", [1])])


async def test_an_entry_between_two_unfinished_ones_of_its_row_is_settled_last(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    acknowledger.owe(handling(2, "a"))
    acknowledger.owe(handling(1, "a", unfinished=1))
    acknowledger.owe(handling(3, "a", unfinished=1))
    await acknowledger.catch_up()
    assert broker.calls == [("note", [1, 3]), ("settle", [2])]


async def test_who_comes_during_a_round_waits_for_the_next(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.open.clear()
    acknowledger.owe(handling(1, "a"))
    await eventually(lambda: broker.asked == 1)
    acknowledger.owe(handling(2, "a"))
    caught_up = asyncio.create_task(acknowledger.catch_up())
    assured = asyncio.create_task(acknowledger.assure([handling(3, "a", unfinished=1)]))
    await asyncio.sleep(0)
    broker.let_one_pass()
    await eventually(lambda: broker.calls == [("settle", [1])])
    await asyncio.sleep(0.01)
    assert not caught_up.done()
    assert not assured.done()
    broker.open.set()
    await asyncio.gather(caught_up, assured)
    assert broker.calls == [("settle", [1]), ("settle", [2]), ("note", [3])]


async def test_after_an_outage_unfinished_entries_are_noted_and_finished_ones_only_settled(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    """A note about a finished entry would stay at the broker for ever."""
    broker.open.clear()
    broker.error = BrokerUnavailable("away")
    first, second = handling(1, "a", unfinished=1), handling(2, "b", unfinished=1)
    acknowledger.owe(first)
    acknowledger.owe(second)
    acknowledger.owe(handling(3, "c"))
    await eventually(lambda: broker.asked == 1)
    first.unfinished = 0
    acknowledger.owe(first)
    broker.let_one_pass()
    await asyncio.sleep(0.01)
    broker.error = None
    broker.open.set()
    await acknowledger.catch_up()
    settled = {entry for call, entries in broker.calls for entry in entries if call == "settle"}
    assert settled == {1, 3}
    assert [entries for call, entries in broker.calls if call == "note"] == [[2]]


async def test_later_notes_have_higher_numbers(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    one = handling(1, "a", unfinished=1)
    for _ in range(3):
        await acknowledger.assure([one])
    assert broker.numbers == sorted(set(broker.numbers))
    assert len(broker.numbers) == 3


async def test_after_an_accepted_note_the_next_refusal_is_a_first_one(
    broker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledger_module, "_FIRST_PAUSE", 0.001)
    async with running(broker, backoff=30.0) as acknowledger:
        one = handling(1, "a", unfinished=1)
        # Were the pauses to grow on, the last of these outages would last for a second and more.
        for _ in range(11):
            broker.full, broker.refused = True, 0
            acknowledger.owe(one)
            await eventually(lambda: broker.refused)
            broker.full = False
            async with asyncio.timeout(0.5):
                await acknowledger.assure([one])


@pytest.mark.parametrize("full", [False, True])
async def test_the_end_tries_notes_that_wait_once_more(
    broker: Recorder, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setattr(acknowledger_module, "_FIRST_PAUSE", 30.0)
    one = Acknowledger(broker, LEASE, 30.0, lambda: None)
    reports = asyncio.create_task(one.run())
    broker.full = True
    one.owe(handling(1, "a", unfinished=1))
    one.owe(handling(2, "a"))
    await eventually(lambda: broker.refused == 1)
    broker.full = full
    one.end()
    async with asyncio.timeout(5):
        await reports
    # A broker that refuses the note keeps both entries, for the next owner.
    assert broker.calls == ([] if full else [("note", [1]), ("settle", [2])])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let finished entries wait for others without end."""
    monkeypatch.setattr(acknowledger_module, "_GATHERING", 3_600.0)


async def test_entries_that_are_finished_one_after_another_are_settled_together(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    for number in range(1, 5):
        acknowledger.owe(handling(number, "a"))
        await asyncio.sleep(0)
    await eventually(lambda: broker.calls == [("settle", [1, 2, 3, 4])])


@pytest.mark.usefixtures("patient")
async def test_many_finished_entries_wait_for_no_others(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    for number in range(1, 52):
        acknowledger.owe(handling(number, "a"))
        await asyncio.sleep(0)
    await eventually(lambda: broker.calls == [("settle", list(range(1, 52)))])


@pytest.mark.usefixtures("patient")
async def test_somebody_who_waits_for_a_report_waits_for_no_others(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    acknowledger.owe(handling(1, "a"))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await acknowledger.catch_up()
        await acknowledger.assure([handling(2, "a", unfinished=1)])
    assert broker.calls == [("settle", [1]), ("note", [2])]


@pytest.mark.usefixtures("patient")
async def test_the_end_waits_for_no_others(broker: Recorder) -> None:
    one = Acknowledger(broker, LEASE, 0.05, lambda: None)
    reports = asyncio.create_task(one.run())
    one.owe(handling(1, "a"))
    await asyncio.sleep(0)
    one.end()
    async with asyncio.timeout(5):
        await reports
    assert broker.calls == [("settle", [1])]


async def test_an_entry_that_is_finished_during_the_last_round_is_settled(broker: Recorder) -> None:
    one = Acknowledger(broker, LEASE, 0.05, lambda: None)
    reports = asyncio.create_task(one.run())
    broker.open.clear()
    one.owe(handling(1, "a"))
    one.end()
    await eventually(lambda: broker.asked == 1)
    one.owe(handling(2, "a"))
    broker.open.set()
    async with asyncio.timeout(5):
        await reports
    assert broker.calls == [("settle", [1]), ("settle", [2])]


async def test_another_row_is_settled_while_notes_wait_for_long(
    broker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledger_module, "_FIRST_PAUSE", 30.0)
    async with running(broker, backoff=30.0) as acknowledger:
        broker.full = True
        acknowledger.owe(handling(1, "a", unfinished=1))
        await eventually(lambda: broker.refused == 1)
        acknowledger.owe(handling(2, "b"))
        acknowledger.owe(handling(3, "a"))
        await eventually(lambda: broker.calls == [("settle", [2])])
        assert broker.refused == 1
        assert len(acknowledger) == 1


@pytest.mark.parametrize("late", [False, True], ids=["while it runs", "after it has failed"])
@pytest.mark.parametrize("error", [LeaseLost("lost"), BrokerError("not allowed")])
async def test_whoever_waits_receives_the_error_that_ended_the_reports(
    broker: Recorder, error: BrokerError, late: bool
) -> None:
    one = Acknowledger(broker, LEASE, 0.05, lambda: None)
    broker.error = error
    reports = asyncio.create_task(one.run())
    if late:
        one.owe(handling(1, "a"))
        await asyncio.wait([reports])
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            one.assure([handling(2, "b"), handling(3, "c", unfinished=1)]),
            one.catch_up(),
            reports,
            return_exceptions=True,
        )
    assert list(answers) == [error] * 3


async def test_who_waits_is_not_starved_by_what_is_owed_meanwhile(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    number = 0
    waiting = asyncio.create_task(acknowledger.catch_up())
    assuring = asyncio.create_task(acknowledger.assure([handling(10_000, "b", unfinished=1)]))
    while not (waiting.done() and assuring.done()):
        number += 1
        acknowledger.owe(handling(number, "a"))
        await asyncio.sleep(0)
        assert number < 100


async def test_nobody_has_caught_up_while_notes_are_refused(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.full = True
    acknowledger.owe(handling(1, "a", unfinished=1))
    acknowledger.owe(handling(2, "b"))
    for _ in range(3):
        with pytest.raises(BrokerUnavailable, match="notes wait"):
            await acknowledger.catch_up()
    assert broker.calls == [("settle", [2])]
    broker.full = False
    await eventually(lambda: broker.calls[1:] == [("note", [1])])
    await acknowledger.catch_up()


async def test_nobody_has_caught_up_while_entries_wait_for_a_note_that_was_refused(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    """The entry of the note is finished while the broker refuses the note."""
    broker.full = True
    broker.open.clear()
    first = handling(1, "a", unfinished=1)
    waiting = asyncio.create_task(acknowledger.catch_up())
    acknowledger.owe(first)
    acknowledger.owe(handling(2, "a"))
    await asyncio.sleep(0.01)
    first.unfinished = 0
    acknowledger.owe(first)
    broker.open.set()
    with pytest.raises(BrokerUnavailable):
        await waiting
    await acknowledger.catch_up()
    assert [(call, sorted(entries)) for call, entries in broker.calls] == [("settle", [1, 2])]


async def test_who_wants_an_entry_noted_goes_on_when_the_entry_is_settled(
    broker: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acknowledger_module, "_FIRST_PAUSE", 30.0)
    async with running(broker, backoff=30.0) as acknowledger:
        broker.full = True
        one = handling(1, "a", unfinished=1)
        assuring = asyncio.create_task(acknowledger.assure([one]))
        await eventually(lambda: broker.refused == 1)
        one.unfinished = 0
        acknowledger.owe(one)
        async with asyncio.timeout(5):
            await assuring
        assert broker.calls == [("settle", [1])]


async def test_entries_count_until_they_are_settled(
    broker: Recorder, acknowledger: Acknowledger
) -> None:
    broker.open.clear()
    for number in range(1, 8):
        acknowledger.owe(handling(number, "a"))
    acknowledger.owe(handling(9, "b"))
    acknowledger.owe(handling(8, "b", unfinished=1))
    await asyncio.sleep(0.01)
    assert len(acknowledger) == 8, "a call to the broker is under way"
    broker.error = BrokerUnavailable("away")
    broker.open.set()
    await asyncio.sleep(0.01)
    assert len(acknowledger) == 8
    broker.error = None
    await acknowledger.catch_up()
    assert len(acknowledger) == 0


class Slow(MemoryBroker):
    """Settles when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.calls: list[str] = []

    async def settle(self, *what: Any) -> None:
        await self.open.wait()
        self.calls.append("settle")
        await super().settle(*what)

    async def park(self, *what: Any, **how: Any) -> EntryId | None:
        self.calls.append("park")
        return await super().park(*what, **how)


async def test_a_row_is_held_after_its_earlier_events_are_settled() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        if event.sequence == 2:
            raise ValueError("no")

    broker = Slow()
    await publish(broker, event("1", 1), event("1", 2))
    retry = edgy.Retry(attempts=1)
    group = Group(broker, subscribe(receiver, retry=retry, on_exhausted="hold"))
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 1)
    await asyncio.sleep(0.05)
    assert broker.calls == []
    broker.open.set()
    await eventually(lambda: "park" in broker.calls)
    assert broker.calls[0] == "settle"
    await group.end(tenure)


class Forgetful(MemoryBroker):
    """Refuses notes while `full`; remembers which entries have notes."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.noted: set[EntryId] = set()

    async def note(
        self, lease: Lease, notes: Mapping[EntryId, bytes], *what: Any, **how: Any
    ) -> None:
        if self.full:
            raise BrokerUnavailable("OOM command not allowed")
        await super().note(lease, notes, *what, **how)
        self.noted |= notes.keys()


async def test_a_receiver_that_skips_a_repeat_is_noted_before_a_later_event_of_the_row() -> None:
    broker = Forgetful()
    calls: list[int] = []

    async def quick(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "1":
            calls.append(event.sequence)

    async def endless(sender: Any, event: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    def process() -> Group:
        both = subscribe(quick, name="quick"), subscribe(endless, name="endless")
        return Group(broker, *both, concurrency=1, grace=0.0)

    # The only slot of `endless` is taken: nothing but the skip says how far row 1 is.
    await publish(broker, event("0", 1), event("1", 2), event("1", 3))
    group = process()
    tenure = await group.begin()
    await eventually(lambda: calls == [2, 3])
    await group.end(tenure)
    broker.full = False
    tenure = await group.begin()
    await eventually(lambda: calls == [2, 3, 3])
    assert group.stats.skipped == 2
    await eventually(lambda: len(broker.noted) == 3)
    await tenure.abort()
    await broker.release(tenure.lease)
    successor = process()
    tenure = await successor.begin("other")
    await eventually(lambda: len(successor.tools.receivers.full) == 1)
    await successor.end(tenure)
    # The last call may have been on its way to the broker: then the event comes again.
    assert set(calls[3:]) <= {3}, "the receiver is not left with an older state of the row"
