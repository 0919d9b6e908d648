"""The bytes in hand of a process: room, reservations, and who waits for room."""

import asyncio
from typing import Any

from edgy_bus.brokers.base import Fetched, Lease
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.retrying import Retry
from edgy_bus.runtime.load import Load
from tests.support import event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


def test_there_is_room_up_to_a_number_of_bytes_and_for_anything_if_nothing_is_in_hand() -> None:
    load = Load(100, 100)
    assert load.has_room(1_000)
    load.active = 60
    assert load.has_room(40)
    assert not load.has_room(41)
    load.reserve(30)
    assert load.has_room(10)
    assert not load.has_room(11)
    load.release(30)
    load.finished(60)
    assert load.has_room(1_000)


def test_what_waits_is_counted_apart() -> None:
    load = Load(100, 100)
    load.waiting = 99
    assert load.has_room(100)
    load.waiting = 100
    assert not load.has_room(1)


def test_everybody_in_line_is_called_once_and_may_wait_again() -> None:
    load, called = Load(100, 100), list[str]()

    def again() -> None:
        called.append("again")
        load.wait(again)

    def once() -> None:
        called.append("once")

    load.wait(again)
    load.wait(again)
    load.wait(once)
    load.finished(0)
    load.finished(0)
    assert called == ["again", "once", "again"]
    load.forget(again)
    load.finished(0)
    assert len(called) == 3


class Measured(MemoryBroker):
    """Counts the bytes that were fetched and not settled."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.fail = 0

    async def fetch(self, lease: Lease, count: int, **where: Any) -> Fetched:
        fetched = await super().fetch(lease, count, **where)
        if self.fail and fetched.entries:
            self.fail -= 1
            self.sizes.append(where["most_bytes"])
            raise BrokerUnavailable("the answer was lost")
        self.sizes += [len(entry.fields[b"data"]) for entry in fetched.entries]
        return fetched


async def test_a_process_reads_no_more_than_it_has_room_for() -> None:
    running: list[int] = []
    go = asyncio.Event()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        running.append(event.sequence)
        await go.wait()

    broker = Measured()
    await publish(broker, *(event(str(n), n + 1, text="x" * 10_000) for n in range(100)))
    group = Group(broker, subscribe(receiver), fetch_bytes=20_000, in_hand_bytes=50_000)
    tenure = await group.begin()
    await eventually(lambda: len(running) >= 4)
    await asyncio.sleep(0.1)
    assert 40_000 <= sum(broker.sizes) <= 75_000
    go.set()
    await eventually(lambda: group.stats.handled == 100)
    await group.end(tenure)
    assert (group.tools.load.active, group.tools.load.waiting) == (0, 0)


async def test_events_above_every_limit_pass_one_at_a_time() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None: ...

    broker = Measured()
    await publish(broker, *(event(str(n), n + 1, text="x" * 10_000) for n in range(10)))
    group = Group(
        broker, subscribe(receiver), fetch_bytes=1_000, in_hand_bytes=1_000, waiting_bytes=1_000
    )
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 10)
    await group.end(tenure)


async def test_rows_that_wait_for_a_retry_take_no_room_from_others() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.sequence <= 10:
            raise ValueError("not yet")

    broker = Measured()
    await publish(broker, *(event(str(n), n + 1, text="x" * 10_000) for n in range(50)))
    group = Group(
        broker,
        subscribe(receiver, retry=Retry(attempts=9, delay=60)),
        fetch_bytes=20_000,
        in_hand_bytes=30_000,
    )
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 40)
    assert group.tools.load.waiting > 90_000
    await group.end(tenure)
    assert (group.tools.load.active, group.tools.load.waiting) == (0, 0)


async def test_a_read_whose_answer_was_lost_is_repeated_smaller() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None: ...

    broker = Measured()
    broker.fail = 3
    await publish(broker, *(event(str(n), n + 1) for n in range(50)))
    group = Group(broker, subscribe(receiver), fetch_bytes=64_000)
    while broker.fail:
        tenure = await group.begin()
        await tenure.wait()
        await broker.release(tenure.lease)
    assert broker.sizes == [64_000, 16_000, 4_000]
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 50)
    await group.end(tenure)
    assert group.tools.portion.size > 1_000
