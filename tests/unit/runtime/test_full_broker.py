"""A broker that is full: settling, which makes room, waits for nothing that needs room."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edgy_bus.brokers.base import DeadLetter, EntryId, Kept, Lease
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.retrying import Retry, dead_letter
from edgy_bus.signals import Batch
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


class Full(MemoryBroker):
    """Refuses what grows, until it has room; and the letters of some events for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.full = True
        self.cursed: set[str] = set()
        self.refused: list[str] = []

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        self._refuse("note")
        await super().note(lease, notes, kept, number=number)

    async def bury(self, lease: Lease, letter: DeadLetter, *rest: Any) -> int:
        self._refuse("bury")
        if letter.fields[b"id"].decode() in self.cursed:
            raise BrokerError("too many fields")
        return await super().bury(lease, letter, *rest)

    async def park(self, *what: Any, **how: Any) -> EntryId | None:
        self._refuse("park")
        return await super().park(*what, **how)

    def _refuse(self, call: str) -> None:
        if self.full:
            self.refused.append(call)
            raise BrokerUnavailable("OOM command not allowed")


async def test_finished_entries_are_settled_while_notes_wait() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "0":
            raise ValueError("not yet")

    broker = Full()
    await publish(broker, *(event(str(n % 100), n) for n in range(1, 401)))
    patient = Retry(attempts=1_000, delay=0.01, factor=1)
    group = Group(broker, subscribe(receiver, retry=patient), backoff=0.01)
    tenure = await group.begin()
    await eventually(lambda: is_unfinished(group, 4))
    await eventually(lambda: len(broker.refused) > 5)
    broker.full = False
    await eventually(lambda: has_notes(broker))
    await group.end(tenure)


async def is_unfinished(group: Group, count: int) -> bool:
    return await group.unfinished() == count


async def has_notes(broker: Full) -> bool:
    state = broker._group(PARTITION, "mail")
    return state is not None and bool(state.notes)


async def test_a_tenure_ends_though_its_notes_are_refused() -> None:
    called = asyncio.Event()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        called.set()
        raise ValueError("not yet")

    broker = Full()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver, retry=Retry(attempts=9, delay=60)))
    tenure = await group.begin()
    await called.wait()
    async with asyncio.timeout(5):
        await group.end(tenure)
    assert await group.unfinished() == 1


@pytest.mark.parametrize("exhausted", ["dead_letter", "hold"])
async def test_events_that_cannot_be_put_aside_hold_their_rows_and_no_slot(exhausted: str) -> None:
    seen: list[str] = []

    async def gives_up(sender: Any, event: Any, **kwargs: Any) -> Any:
        if int(event.subject) < 50:
            return dead_letter("no such address")
        seen.append(event.subject)
        return None

    broker = Full()
    await publish(broker, *(event(str(n), n + 1) for n in range(100)), event("0", 200))
    group = Group(
        broker,
        subscribe(gives_up, on_exhausted=exhausted),
        concurrency=1,
        prefetch=10,
        backoff=0.02,
    )
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: is_unfinished(group, 51))
        assert len(seen) == 50
        assert group.stats.dead == 0
        (waiting,) = told.of("letters.wait")
        assert "OOM" in waiting["error"]
        broker.full = False
        await eventually(lambda: is_unfinished(group, 0))
        await eventually(lambda: told.of("letters.written"))
    await group.end(tenure)


async def test_the_report_counts_all_events_that_wait() -> None:
    async def gives_up(sender: Any, **kwargs: Any) -> Any:
        return dead_letter("no such address")

    broker = Full()
    await publish(broker, *(event(str(n), n + 1) for n in range(20)))
    group = Group(broker, subscribe(gives_up, batch=Batch(20, 5)), backoff=0.02)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: told.of("letters.wait"))
        (waiting,) = told.of("letters.wait")
        assert waiting["count"] == 20
        broker.full = False
        await eventually(lambda: is_unfinished(group, 0))
    await group.end(tenure)


async def test_a_letter_that_is_refused_for_itself_holds_up_no_other() -> None:
    async def gives_up(sender: Any, event: Any, **kwargs: Any) -> Any:
        return dead_letter("no such address")

    broker = Full()
    broker.full = False
    events = [event(str(n), n + 1) for n in range(40)]
    broker.cursed = {events[0].id}
    await publish(broker, *events)
    group = Group(broker, subscribe(gives_up), concurrency=1, backoff=0.02)
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: is_unfinished(group, 1))
        await asyncio.sleep(0.2)
        assert tenure.running
        (waiting,) = told.of("letters.wait")
        assert waiting["error"] == "too many fields"
        broker.cursed.clear()
        await eventually(lambda: is_unfinished(group, 0))
    await group.end(tenure)


async def test_a_tenure_that_stops_leaves_what_waits_to_the_next_owner() -> None:
    calls: list[str] = []

    async def gives_up(sender: Any, event: Any, **kwargs: Any) -> Any:
        calls.append(event.subject)
        return dead_letter("no such address")

    broker = Full()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(gives_up), backoff=0.02)
    tenure = await group.begin()
    await eventually(lambda: len(broker.refused) > 3)
    async with asyncio.timeout(5):
        await group.end(tenure)
    assert await group.unfinished() == 2
    broker.full = False
    tenure = await group.begin("next")
    await eventually(lambda: is_unfinished(group, 0))
    await group.end(tenure)
    assert sorted(calls) == ["1", "1", "2", "2"]
    letters = await broker.dead_letters(PARTITION, "mail")
    assert len(letters) == 2
