"""The bytes in hand of a process: room, reads under way, and who waits for room."""

import asyncio
from typing import Any

from edgy_bus.brokers.base import Fetched, Lease
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.retrying import Retry
from edgy_bus.runtime.load import Load
from tests.support import event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


async def test_there_is_room_up_to_a_number_of_bytes_and_for_anything_if_nothing_is_in_hand() -> (
    None
):
    load = Load(100, 100)
    assert load.has_room(1_000)
    load.active = 60
    assert load.has_room(40)
    assert not load.has_room(41)
    assert load.stand_in_line(30).result()
    assert load.has_room(10)
    assert not load.has_room(11)
    load.release(30)
    load.finished(60)
    assert load.has_room(1_000)


def test_what_waits_is_counted_apart() -> None:
    load = Load(100, 100)
    load.waiting = 200
    assert load.has_room(100)
    load.waits_no_longer(60)
    assert (load.active, load.waiting) == (60, 140)


def test_partitions_without_their_share_of_what_waits_read_on_up_to_it() -> None:
    load = Load(100, 120)
    load.tenures = 4
    load.waiting = 119
    assert load.left_for(119) == 120
    load.waiting = 120
    assert [load.left_for(waiting) for waiting in (31, 30, 29, 0)] == [-1, 0, 1, 30]
    load.tenures = 3
    assert load.left_for(30) == 10


async def test_those_in_line_get_room_in_the_order_in_which_they_came() -> None:
    load = Load(100, 100)
    load.active = 100
    large, small, later = [load.stand_in_line(size) for size in (50, 10, 40)]
    load.finished(20)
    assert not any(turn.done() for turn in (large, small, later)), "nobody passes the head"
    load.finished(30)
    assert large.result()
    assert not small.done()
    load.release(50)
    assert small.result()
    assert later.result()
    assert load.stand_in_line(10).done() is False
    load.release(10)
    load.release(40)


async def test_who_leaves_the_line_or_is_cancelled_keeps_no_room() -> None:
    load = Load(100, 100)
    load.active = 100
    stopped, cancelled, next_one = [load.stand_in_line(100) for _ in range(3)]
    load.leave(stopped)
    assert stopped.result() is False
    cancelled.cancel()
    load.finished(100)
    assert next_one.result()
    load.leave(next_one)
    assert not load.has_room(1), "a turn that has come is given back by its caller"
    load.release(100)
    assert load.has_room(100)


async def test_who_is_behind_somebody_that_leaves_gets_the_room_at_once() -> None:
    load = Load(100, 100)
    load.active = 50
    large, larger, small = [load.stand_in_line(size) for size in (80, 90, 50)]
    load.leave(large)
    assert not small.done()
    load.leave(larger)
    assert small.result()


async def test_a_change_that_makes_no_room_looks_at_nobody_in_line(monkeypatch: Any) -> None:
    load = Load(100, 100)
    load.active = 600
    line = [load.stand_in_line(100) for _ in range(300)]
    looks: list[int] = []
    look = load.has_room

    def count(size: int) -> bool:
        looks.append(size)
        return look(size)

    monkeypatch.setattr(load, "has_room", count)
    for _ in range(59):
        load.finished(10)
    assert not looks
    load.finished(10)
    assert line[0].result()
    assert not line[1].done()
    assert len(looks) == 2


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


async def test_a_tenure_that_waits_for_room_stops_at_once_and_keeps_none() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None: ...

    broker = Measured()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    load, most = group.tools.load, group.tools.settings.in_hand_bytes
    load.active = most
    tenure = await group.begin()
    await asyncio.sleep(0.05)
    assert broker.sizes == []
    await asyncio.wait_for(group.end(tenure), 2)
    load.finished(most)
    assert load.stand_in_line(most).result()


async def test_a_read_that_is_cancelled_just_when_its_turn_comes_keeps_no_room() -> None:
    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None: ...

    group = Group(MemoryBroker(), subscribe(receiver))
    load, most = group.tools.load, group.tools.settings.in_hand_bytes
    load.active = most
    tenure = await group.begin()
    await asyncio.sleep(0.05)
    # In one step of the loop: the turn comes, and the lease is lost before the read goes on.
    load.finished(most)
    tenure.lose()
    await tenure.wait()
    assert load.stand_in_line(most).result()


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
