"""`pre_*` events are sent in the background. Events that do not fit are dropped and counted."""

import asyncio
from collections.abc import Sequence

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import PRE, Event, Partition
from edgy_bus.outbox import announcer as module
from edgy_bus.outbox.announcer import Announcer, Drops
from edgy_bus.settings import EventSettings
from tests.support import Told, event, eventually
from tests.unit.outbox.support import on_stream, read_all

PARTITION = Partition("accounts.User", PRE)
SETTINGS = EventSettings()


async def test_events_reach_the_stream_of_pre_events(broker: MemoryBroker) -> None:
    events = [event(str(number), None, "pre_save") for number in range(3)]
    async with Announcer(broker, SETTINGS) as announcer:
        for one in events:
            announcer.put(lambda one=one: one)
        await eventually(lambda: _announced(broker, 3))
    assert await on_stream(broker, PARTITION) == [one.id for one in events]
    assert announcer.dropped == 0


async def test_what_waits_is_sent_before_it_ends(broker: MemoryBroker) -> None:
    async with Announcer(broker, SETTINGS) as announcer:
        for _ in range(500):
            announcer.put(lambda: event("1", None, "pre_save"))
    assert len(await on_stream(broker, PARTITION)) == 500


def never() -> Event:
    raise AssertionError("an event is made that nobody can send")


async def test_before_the_start_everything_is_dropped_and_counted(broker: MemoryBroker) -> None:
    announcer = Announcer(broker, SETTINGS)
    with Told() as told:
        announcer.put(never)
    assert announcer.dropped == 1
    assert told.of("announcer.dropped") == [{"count": 1, "reason": "the bus is not running"}]


async def test_more_than_fits_is_dropped_and_counted(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 10)
    async with Announcer(broker, SETTINGS) as announcer:
        for number in range(15):
            announcer.put(never if number >= 10 else lambda: event("1", None, "pre_save"))
        assert announcer.dropped == 5
    assert len(await on_stream(broker, PARTITION)) == 10


async def test_a_broker_that_is_away_costs_the_events_and_nothing_else() -> None:
    class Away(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            raise BrokerUnavailable("away")

    async with Announcer(Away(), SETTINGS) as announcer:
        announcer.put(lambda: event("1", None, "pre_save"))
        await eventually(lambda: announcer.dropped == 1)
        assert announcer.running


async def test_an_event_that_cannot_be_encoded_costs_only_itself(broker: MemoryBroker) -> None:
    good = event("1", None, "pre_save")
    async with Announcer(broker, SETTINGS) as announcer:
        announcer.put(lambda: event("1", None, "pre_save", odd=object()))
        announcer.put(lambda: good)
        await eventually(lambda: _announced(broker, 1))
    assert await on_stream(broker, PARTITION) == [good.id]
    assert announcer.dropped == 1


async def test_putting_never_waits(broker: MemoryBroker) -> None:
    stuck = asyncio.Event()

    class Stuck(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            await stuck.wait()
            return 0

    async with Announcer(Stuck(), SETTINGS) as announcer:
        announcer.put(lambda: event("1", None, "pre_save"))
        await asyncio.sleep(0.05)
        announcer.put(lambda: event("2", None, "pre_save"))  # would hang here
        stuck.set()


def large(size: int) -> Event:
    return event("1", None, "pre_save", values={"text": "x" * size})


async def test_an_event_over_the_limit_is_dropped_and_the_others_are_sent(
    broker: MemoryBroker,
) -> None:
    settings = EventSettings(max_bytes=10_000)
    small = event("1", None, "pre_save")
    with Told() as told:
        async with Announcer(broker, settings) as announcer:
            announcer.put(lambda: large(10_000))
            announcer.put(lambda: small)
    assert await on_stream(broker, PARTITION) == [small.id]
    [notice] = told.of("announcer.dropped")
    assert (notice["count"], "max_bytes" in notice["reason"]) == (1, True)


async def test_waiting_events_are_bounded_by_their_bytes_until_they_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING_BYTES", 10_000)
    sending, sent = asyncio.Event(), asyncio.Event()

    class Slow(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            sending.set()
            await sent.wait()
            return await super().announce(partition, chunk, keep)

    broker = Slow()
    async with Announcer(broker, SETTINGS) as announcer:
        for _ in range(4):
            announcer.put(lambda: large(3_000))
        assert announcer.dropped == 1, "the fourth does not fit"
        await sending.wait()
        announcer.put(lambda: large(3_000))
        assert announcer.dropped == 2, "events on their way count"
        sent.set()
        await eventually(lambda: _announced(broker, 3))
        announcer.put(lambda: large(3_000))
    assert announcer.dropped == 2
    assert len(await on_stream(broker, PARTITION)) == 4


async def test_large_events_are_sent_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE_BYTES", 10_000)
    chunks: list[int] = []

    class Counting(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            chunks.append(len(chunk))
            return await super().announce(partition, chunk, keep)

    async with Announcer(Counting(), SETTINGS) as announcer:
        for size in (3_000, 3_000, 3_000, 30_000, 10, 10):
            announcer.put(lambda size=size: large(size))
    assert chunks == [3, 1, 2]


async def test_the_stream_keeps_a_number_of_bytes(broker: MemoryBroker) -> None:
    settings = EventSettings(pre_bytes=20_000)
    events = [large(3_000) for _ in range(20)]
    async with Announcer(broker, settings) as announcer:
        for each in events:
            announcer.put(lambda each=each: each)
    kept = await on_stream(broker, PARTITION)
    assert len(kept) == 6
    assert kept == [each.id for each in events[-6:]]
    assert announcer.dropped == 0, "nobody reads"


async def test_events_that_a_group_misses_are_counted(broker: MemoryBroker) -> None:
    settings = EventSettings(pre_bytes=20_000)
    async with Announcer(broker, settings) as announcer:
        announcer.put(lambda: large(3_000))
        await eventually(lambda: _announced(broker, 1))
        await read_all(broker, "mail", PARTITION)
        for _ in range(20):
            announcer.put(lambda: large(3_000))
    assert announcer.dropped == 14


def test_drops_are_reported_at_once_and_then_together() -> None:
    drops = Drops()
    with Told() as told:
        for now in range(70):
            drops.add(2, "full", float(now))
        drops.add(1, "away", 69.0)
        drops.report_all()
    reports = [(notice["count"], notice["reason"]) for notice in told.of("announcer.dropped")]
    assert reports == [(2, "full"), (120, "full"), (1, "away"), (18, "full")]


async def _announced(broker: MemoryBroker, count: int) -> bool:
    return len(await on_stream(broker, PARTITION)) == count


async def test_small_events_are_sent_a_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 4)
    chunks: list[int] = []

    class Counting(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            chunks.append(len(chunk))
            return await super().announce(partition, chunk, keep)

    async with Announcer(Counting(), SETTINGS) as announcer:
        for _ in range(10):
            announcer.put(lambda: event("1", None, "pre_save"))
    assert chunks == [4, 4, 2]


async def test_what_a_cancellation_leaves_unsent_is_counted() -> None:
    sending = asyncio.Event()

    class Stuck(MemoryBroker):
        async def announce(self, partition: Partition, chunk: Sequence[Wire], keep: int) -> int:
            sending.set()
            await asyncio.Event().wait()
            return 0

    announcer = Announcer(Stuck(), SETTINGS)
    await announcer.start()
    with Told() as told:
        for _ in range(10):
            announcer.put(lambda: event("1", None, "pre_save"))
        await sending.wait()
        await announcer.abort()
    assert announcer.dropped == 10
    assert told.of("announcer.dropped") == [{"count": 10, "reason": "the bus is not running"}]
