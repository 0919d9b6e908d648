"""Replay dead letters: in order with the events of their row, and without harm to others."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from edgy_bus.brokers.base import HeldState, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import unpack
from edgy_bus.events import Partition
from edgy_bus.retrying import Retry
from edgy_bus.runtime import detours
from edgy_bus.runtime.breakers import Breakers
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.signals import Breaker
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

ROW = RowKey("r", "1")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detours, "_LOOK", 0.01)


class Recorder:
    """A receiver that fails at what is in `broken`, and waits while `gate` is closed."""

    def __init__(self, *broken: int) -> None:
        self.broken = set(broken)
        self.seen: list[int] = []
        self.running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        assert self.running == 0, "two calls of a row run side by side"
        self.running += 1
        try:
            await self.gate.wait()
            if event.sequence in self.broken:
                raise ValueError(f"{event.sequence} is broken")
            self.seen.append(event.sequence)
        finally:
            self.running -= 1


class Watched(MemoryBroker):
    """A broker that counts the looks at held rows."""

    looks = 0

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        self.looks += 1
        return await super().held(partition, group)


async def letters(broker: MemoryBroker) -> list[str]:
    return [letter.reason for letter in await broker.dead_letters(PARTITION, "mail")]


async def replay(broker: MemoryBroker, tenure: Tenure, row: RowKey = ROW) -> None:
    """Replay every letter as a letter of `row`, and let the tenure look."""
    page = await broker.letters(PARTITION, "mail")
    assert await broker.replay(PARTITION, "mail", row, [letter.id for letter in page.letters])
    tenure.nudge()


async def begin(broker: MemoryBroker, receiver: Recorder, **options: Any) -> tuple[Group, Tenure]:
    given = {"retry": Retry(attempts=1), "on_exhausted": "dead_letter", **options}
    group = Group(broker, subscribe(receiver, **given))
    return group, await group.begin()


async def test_letters_are_handled_in_order_and_their_row_goes_on() -> None:
    broker, receiver = MemoryBroker(), Recorder(1, 2)
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    group, tenure = await begin(broker, receiver)
    await eventually(lambda: receiver.seen == [3])
    assert await letters(broker) == ["ValueError: 1 is broken", "ValueError: 2 is broken"]
    receiver.broken.clear()
    await replay(broker, tenure)
    await eventually(lambda: receiver.seen == [3, 1, 2], "the tenure knew no held row until now")
    await publish(broker, event("1", 4))
    await eventually(lambda: receiver.seen == [3, 1, 2, 4])
    await group.end(tenure)
    assert await letters(broker) == []
    assert await broker.held(PARTITION, "mail") == {}


async def test_a_letter_that_fails_again_is_a_letter_again_and_holds_no_row() -> None:
    broker, receiver = MemoryBroker(), Recorder(1, 2)
    await publish(broker, event("1", 1), event("1", 2))
    group, tenure = await begin(broker, receiver, on_exhausted="hold")
    # The operator skips what is held: a receiver that holds rows has letters, too.
    for _ in range(2):
        await eventually(lambda: broker.decide(PARTITION, "mail", ROW, skip=True))
    receiver.broken.remove(2)
    await replay(broker, tenure)
    await eventually(lambda: receiver.seen == [2])
    await eventually(lambda: _is_free(broker))
    assert await letters(broker) == ["ValueError: 1 is broken"]
    assert group.stats.dead == 1
    await group.end(tenure)


async def _is_free(broker: MemoryBroker) -> bool:
    return not await broker.held(PARTITION, "mail")


async def test_an_event_behind_a_letter_is_buried_if_its_receiver_holds_no_rows() -> None:
    broker, receiver = MemoryBroker(), Recorder(1, 2)
    await publish(broker, event("1", 1))
    group, tenure = await begin(broker, receiver)
    await eventually(lambda: letters(broker))
    receiver.broken.remove(1)
    receiver.gate.clear()
    await replay(broker, tenure)
    await eventually(lambda: receiver.running)
    await publish(broker, event("1", 2), event("1", 3))
    await eventually(lambda: _parked(broker, 3))
    receiver.gate.set()
    await eventually(lambda: receiver.seen == [1, 3])
    assert await letters(broker) == ["ValueError: 2 is broken"]
    await group.end(tenure)


async def _parked(broker: MemoryBroker, count: int) -> bool:
    return len(await broker.parked(PARTITION, "mail", ROW, 10)) == count


async def test_a_letter_waits_for_the_running_call_of_its_row() -> None:
    broker, receiver = Watched(), Recorder(1)
    await publish(broker, event("1", 1))
    group, tenure = await begin(broker, receiver)
    await eventually(lambda: letters(broker))
    receiver.broken.clear()
    receiver.gate.clear()
    await publish(broker, event("1", 2))
    await eventually(lambda: receiver.running)
    await replay(broker, tenure)
    await publish(broker, event("1", 3))
    seen = broker.looks
    await eventually(lambda: broker.looks >= seen + 5, "more looks than a letter needs to begin")
    assert await _parked(broker, 1)
    assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}, "no attempt"
    receiver.gate.set()
    await eventually(lambda: receiver.seen == [2, 1, 3])
    await group.end(tenure)


async def test_a_letter_without_a_receiver_stays_a_letter() -> None:
    broker, receiver = MemoryBroker(), Recorder(1)
    await publish(broker, event("1", 1))
    group, tenure = await begin(broker, receiver)
    await eventually(lambda: letters(broker))
    await replay(broker, tenure, RowKey("renamed", "1"))
    await eventually(lambda: _is_free(broker))
    assert await letters(broker) == ["no receiver of this name subscribes to the event any more"]
    await group.end(tenure)


async def test_a_replay_without_effect_is_reported() -> None:
    broker, receiver = MemoryBroker(), Recorder(1)
    await publish(broker, event("1", 1, changes={"name": {"old": "a", "new": "b"}}))
    wanted = True
    group, tenure = await begin(broker, receiver, where=lambda instance: wanted)
    await eventually(lambda: letters(broker))
    wanted = False
    with Told() as told:
        await replay(broker, tenure)
        await eventually(lambda: told.of("letter.skipped"))
        await eventually(lambda: _is_free(broker))
    await group.end(tenure)
    assert receiver.seen == []


async def test_a_letter_waits_for_a_slot_and_no_attempt_is_counted() -> None:
    broker, receiver = MemoryBroker(), Recorder(1)
    await publish(broker, event("1", 1))
    group, tenure = await begin(broker, receiver)
    await eventually(lambda: group.stats.dead == 1)
    receiver.broken.clear()
    # As an open breaker does.
    group.tools.receivers.limit("r", 0)
    await replay(broker, tenure)
    await eventually(lambda: len(tenure._tasks.calls) > tenure._tasks.calls.busy)
    assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
    await group.end(tenure)
    assert receiver.seen == []
    tenure = await group.begin("next")
    await eventually(lambda: len(tenure._tasks.calls) > tenure._tasks.calls.busy)
    group.tools.receivers.limit("r", None)
    await eventually(lambda: receiver.seen == [1])
    await group.end(tenure)


async def test_letters_that_fail_open_the_breaker() -> None:
    broker, receiver = MemoryBroker(), Recorder(*range(1, 4))
    await publish(broker, *(event(str(row), row) for row in range(1, 4)))
    breaker = Breaker(failures=2, first=3600, most=3600)
    chosen = subscribe(receiver, retry=Retry(attempts=1), breaker=breaker)
    group = Group(broker, chosen)
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 3)
    await group.end(tenure)
    breakers = Breakers(broker, group.tools.subscriptions, 1, lambda: None)
    group.tools = replace(group.tools, breakers=breakers, receivers=breakers.slots)
    tenure = await group.begin()
    for row, letter in enumerate((await broker.letters(PARTITION, "mail")).letters, 1):
        await broker.replay(PARTITION, "mail", RowKey("r", str(row)), [letter.id])
    tenure.nudge()
    await eventually(lambda: breakers.open == {"r"})
    await eventually(lambda: group.stats.dead == 5)
    await group.end(tenure)
    held = await broker.held(PARTITION, "mail")
    assert list(held.values()) == [HeldState(retrying=True)], "the third row waits, uncounted"


async def test_letters_of_a_receiver_that_hangs_keep_nothing_from_other_receivers() -> None:
    broker = MemoryBroker()
    hangs, goes_on = Side(), Side()
    rows = [str(number) for number in range(1, 9)]
    await publish(broker, *(event(row, int(row)) for row in rows))
    once = {"retry": Retry(attempts=1), "on_exhausted": "dead_letter"}
    group = Group(
        broker,
        subscribe(hangs, name="hangs", **once),
        subscribe(goes_on, name="goes on", **once),
        concurrency=4,
    )
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == 2 * len(rows))
    hangs.fails = goes_on.fails = False
    hangs.gate.clear()
    await replay_all(broker, tenure, "hangs")
    await eventually(lambda: hangs.running == 4)
    await replay_all(broker, tenure, "goes on")
    await publish(broker, *(event(str(number), number) for number in range(100, 110)))
    tenure.wake()
    await eventually(lambda: len(goes_on.seen) == len(rows) + 10)
    assert hangs.seen == []
    hangs.gate.set()
    await eventually(lambda: len(hangs.seen) == len(rows) + 10)
    await group.end(tenure)


async def test_many_letters_leave_turns_to_the_new_events_of_their_receiver() -> None:
    broker, receiver = MemoryBroker(), Side()
    rows = [str(number) for number in range(1, 101)]
    await publish(broker, *(event(row, int(row)) for row in rows))
    once = {"retry": Retry(attempts=1), "on_exhausted": "dead_letter"}
    group = Group(broker, subscribe(receiver, name="r", **once), concurrency=8)
    tenure = await group.begin()
    await eventually(lambda: group.stats.dead == len(rows))
    receiver.fails = False
    await replay_all(broker, tenure, "r")
    await eventually(lambda: bool(receiver.seen))
    await publish(broker, event("1000", 1_000))
    tenure.wake()
    await eventually(lambda: len(receiver.seen) == len(rows) + 1)
    await group.end(tenure)
    assert receiver.seen.index(1_000) < len(rows) // 2


class Side:
    """A receiver that works on several rows at a time, and waits while `gate` is closed."""

    def __init__(self) -> None:
        self.fails = True
        self.running = 0
        self.seen: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        if self.fails:
            raise ValueError("away")
        self.running += 1
        await asyncio.sleep(0.01)
        await self.gate.wait()
        self.running -= 1
        self.seen.append(event.sequence)


async def replay_all(broker: MemoryBroker, tenure: Tenure, receiver: str) -> None:
    """Replay the letters of a receiver, each for its own row."""
    for dead in await every_letter(broker):
        if dead.letter.receiver == receiver:
            subject = unpack(dead.letter.fields).subject
            assert subject is not None
            await broker.replay(PARTITION, "mail", RowKey(receiver, subject), [dead.id])
    tenure.nudge()


async def every_letter(broker: MemoryBroker) -> list[Any]:
    page = await broker.letters(PARTITION, "mail", count=1_000, data=True)
    return list(page.letters)
