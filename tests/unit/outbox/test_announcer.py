"""`pre_*` events are sent in the background. Events that do not fit are dropped and counted."""

import asyncio
from collections.abc import Sequence

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import PRE, Event, Partition
from edgy_bus.outbox import announcer as module
from edgy_bus.outbox.announcer import Announcer
from tests.support import Told, event, eventually
from tests.unit.outbox.support import on_stream

PARTITION = Partition("accounts.User", PRE)


async def test_events_reach_the_stream_of_pre_events(broker: MemoryBroker) -> None:
    events = [event(str(number), None, "pre_save") for number in range(3)]
    async with Announcer(broker) as announcer:
        for one in events:
            announcer.put(lambda one=one: one)
        await eventually(lambda: _announced(broker, 3))
    assert await on_stream(broker, PARTITION) == [one.id for one in events]
    assert announcer.dropped == 0


async def test_what_waits_is_sent_before_it_ends(broker: MemoryBroker) -> None:
    async with Announcer(broker) as announcer:
        for _ in range(500):
            announcer.put(lambda: event("1", None, "pre_save"))
    assert len(await on_stream(broker, PARTITION)) == 500


def never() -> Event:
    raise AssertionError("an event is made that nobody can send")


async def test_before_the_start_everything_is_dropped_and_counted(broker: MemoryBroker) -> None:
    announcer = Announcer(broker)
    with Told() as told:
        announcer.put(never)
    assert announcer.dropped == 1
    assert told.of("announcer.dropped") == [{"count": 1, "reason": "the bus is not running"}]


async def test_more_than_fits_is_dropped_and_counted(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 10)
    async with Announcer(broker) as announcer:
        for number in range(15):
            announcer.put(never if number >= 10 else lambda: event("1", None, "pre_save"))
        assert announcer.dropped == 5
    assert len(await on_stream(broker, PARTITION)) == 10


async def test_a_broker_that_is_away_costs_the_events_and_nothing_else() -> None:
    class Away(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> None:
            raise BrokerUnavailable("away")

    async with Announcer(Away()) as announcer:
        announcer.put(lambda: event("1", None, "pre_save"))
        await eventually(lambda: announcer.dropped == 1)
        assert announcer.running


async def test_an_event_that_cannot_be_encoded_costs_only_itself(broker: MemoryBroker) -> None:
    good = event("1", None, "pre_save")
    async with Announcer(broker) as announcer:
        announcer.put(lambda: event("1", None, "pre_save", odd=object()))
        announcer.put(lambda: good)
        await eventually(lambda: _announced(broker, 1))
    assert await on_stream(broker, PARTITION) == [good.id]
    assert announcer.dropped == 1


async def test_putting_never_waits(broker: MemoryBroker) -> None:
    stuck = asyncio.Event()

    class Stuck(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> None:
            await stuck.wait()

    async with Announcer(Stuck()) as announcer:
        announcer.put(lambda: event("1", None, "pre_save"))
        await asyncio.sleep(0.05)
        announcer.put(lambda: event("2", None, "pre_save"))  # would hang here
        stuck.set()


async def _announced(broker: MemoryBroker, count: int) -> bool:
    return len(await on_stream(broker, PARTITION)) == count
