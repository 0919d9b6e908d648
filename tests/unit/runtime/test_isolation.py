"""A receiver or a row that is slow, hangs or fails delays nothing but its own events."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.retrying import Retry
from edgy_bus.runtime import lanes
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from edgy_bus.signals import Batch
from tests.support import PARTITION, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe


class Calls:
    """A receiver whose calls wait until they may go on."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.running = 0
        self.most = 0
        self.begun: list[str] = []

    async def __call__(self, sender: Any, event: Any = None, **kwargs: Any) -> None:
        self.begun.append(event.subject)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        finally:
            self.running -= 1


def receiver_of(calls: Calls) -> Any:
    async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
        await calls(sender, event)

    return slow


def heard_by() -> tuple[list[str], Any]:
    seen: list[str] = []

    async def fast(sender: Any, event: Any, **kwargs: Any) -> None:
        seen.append(event.subject)

    return seen, fast


async def rows(broker: MemoryBroker, count: int, first: int = 1) -> None:
    await publish(broker, *(event(str(n), n) for n in range(first, first + count)))


async def test_a_slow_receiver_takes_no_slot_and_no_room_of_a_fast_one() -> None:
    broker, slow = MemoryBroker(), Calls()
    seen, fast = heard_by()
    await rows(broker, 200)
    group = Group(
        broker,
        subscribe(receiver_of(slow), name="slow"),
        subscribe(fast, name="fast"),
        concurrency=4,
        prefetch=10,
    )
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 200, "the fast receiver has handled everything")
    assert slow.running == 4
    slow.go.set()
    await eventually(lambda: group.stats.handled == 400)
    assert slow.most == 4
    assert slow.begun == seen, "work that waits for a slot keeps its order"
    await group.end(tenure)
    assert await group.unfinished() == 0


async def test_rows_beside_a_row_with_many_events_go_on() -> None:
    broker, hot = MemoryBroker(), Calls()
    seen: list[str] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        if event.subject == "hot":
            await hot(sender, event)
        seen.append(event.subject)

    await publish(broker, *(event("hot", n) for n in range(1, 101)))
    await rows(broker, 50, first=101)
    group = Group(broker, subscribe(receiver), prefetch=10)
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 50)
    assert hot.begun == ["hot"], "its own events wait for each other"
    hot.go.set()
    await eventually(lambda: group.stats.handled == 150)
    await group.end(tenure)


async def test_many_events_that_fail_in_one_receiver_keep_none_from_another() -> None:
    broker = MemoryBroker()
    seen, fast = heard_by()

    async def failing(sender: Any, **kwargs: Any) -> None:
        raise ConnectionError("away")

    patient = Retry(attempts=9, delay=600.0, ceiling=600.0)
    await rows(broker, 300)
    group = Group(
        broker,
        subscribe(failing, name="failing", retry=patient),
        subscribe(fast, name="fast"),
        prefetch=10,
    )
    tenure = await group.begin()
    await eventually(lambda: len(seen) == 300)
    await group.end(tenure)
    assert await group.pending() == 300


async def test_events_of_one_group_that_wait_keep_no_other_group_from_reading() -> None:
    broker = MemoryBroker()
    seen, fast = heard_by()

    async def failing(sender: Any, **kwargs: Any) -> None:
        raise ConnectionError("away")

    patient = Retry(attempts=9, delay=600.0, ceiling=600.0)
    away = subscribe(failing, name="failing", retry=patient, breaker=None)
    groups = [
        Subscriptions("failing", [replace(away, group="failing")]),
        Subscriptions("fast", [replace(subscribe(fast, name="fast"), group="fast")]),
    ]
    await rows(broker, 20)
    settings = WorkerSettings(waiting_bytes=1_000, prefetch=10, fetch_bytes=1_000)
    async with Worker(broker, groups, settings):
        await eventually(lambda: len(seen) == 20)
        await rows(broker, 100, first=21)
        await eventually(lambda: len(seen) == 120)
        backlogs = {each.group: each for each in await broker.backlog(PARTITION)}
        assert backlogs["failing"].unfinished < 20, "what waits is bounded"


async def test_what_is_read_ahead_is_bounded_whatever_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes, "MOST", 30)
    broker, slow = MemoryBroker(), Calls()
    await publish(broker, *(event("hot", n) for n in range(1, 101)))
    group = Group(broker, subscribe(receiver_of(slow)), prefetch=10)
    tenure = await group.begin()
    await eventually(group.pending)
    for _ in range(200):
        await asyncio.sleep(0)
    assert 25 < await group.pending() <= 30
    slow.go.set()
    await eventually(lambda: group.stats.handled == 100)
    await group.end(tenure)


async def test_for_a_single_receiver_no_more_is_read_ahead_than_the_prefetch() -> None:
    broker, slow = MemoryBroker(), Calls()
    await rows(broker, 200)
    group = Group(broker, subscribe(receiver_of(slow)), concurrency=4, prefetch=10)
    tenure = await group.begin()
    await eventually(lambda: slow.running == 4)
    for _ in range(200):
        await asyncio.sleep(0)
    assert await group.pending() <= 4 + 2 * 10, "nobody else has a use for more"
    slow.go.set()
    await eventually(lambda: group.stats.handled == 200)
    await group.end(tenure)


async def test_no_more_is_read_than_the_prefetch_while_there_is_work_to_do() -> None:
    broker = MemoryBroker()
    most = 0

    async def receiver(sender: Any, **kwargs: Any) -> None:
        nonlocal most
        most = max(most, await group.pending())

    await publish(broker, *(event("1", n) for n in range(1, 201)))
    group = Group(broker, subscribe(receiver), prefetch=10)
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 200)
    await group.end(tenure)
    assert most <= 2 * 10, "in hand, and finished but not reported"


async def test_a_batch_that_is_larger_than_the_prefetch_fills_at_once() -> None:
    sizes: list[int] = []

    async def batch(sender: Any, instances: Any, **kwargs: Any) -> None:
        sizes.append(len(instances))

    broker = MemoryBroker()
    await rows(broker, 60)
    group = Group(broker, subscribe(batch, batch=Batch(30, wait=3_600.0)), prefetch=4)
    tenure = await group.begin()
    await eventually(lambda: group.stats.handled == 60)
    assert sizes == [30, 30]
    await group.end(tenure)


async def test_batches_take_a_slot_for_each_call() -> None:
    running, most = 0, 0
    go = asyncio.Event()

    async def batch(sender: Any, instances: Any, **kwargs: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    broker = MemoryBroker()
    await rows(broker, 40)
    group = Group(broker, subscribe(batch, batch=Batch(4, wait=0.01)), concurrency=2)
    tenure = await group.begin()
    await eventually(lambda: running == 2)
    await asyncio.sleep(0.05)
    go.set()
    await eventually(lambda: group.stats.handled == 40)
    assert most == 2
    await group.end(tenure)


async def test_a_process_bounds_the_calls_of_all_receivers_together() -> None:
    broker, first, second = MemoryBroker(), Calls(), Calls()
    await rows(broker, 20)
    group = Group(
        broker,
        subscribe(receiver_of(first), name="first"),
        subscribe(receiver_of(second), name="second"),
        concurrency=4,
        calls=6,
    )
    tenure = await group.begin()
    await eventually(lambda: first.running + second.running == 6)
    for _ in range(50):
        await asyncio.sleep(0)
    assert first.running + second.running == 6
    first.go.set()
    second.go.set()
    await eventually(lambda: group.stats.handled == 40)
    await group.end(tenure)


async def test_partitions_get_the_slots_of_a_receiver_in_turn() -> None:
    """A partition whose rows are always ready takes no slot that another one waits for."""
    order: list[str] = []

    def slow(partition: str) -> Any:
        async def receiver(sender: Any, **kwargs: Any) -> None:
            order.append(partition)
            await asyncio.sleep(0.001)

        return receiver

    broker, other = MemoryBroker(), MemoryBroker()
    await rows(broker, 30)
    await rows(other, 30)
    first = Group(broker, subscribe(slow("1")), concurrency=1)
    second = Group(other, subscribe(slow("2")), concurrency=1)
    second.tools = replace(second.tools, slots=first.tools.slots, receivers=first.tools.receivers)
    tenures = [await first.begin(), await second.begin()]
    await eventually(lambda: first.stats.handled == second.stats.handled == 30)
    for tenure, group in zip(tenures, (first, second), strict=True):
        await group.end(tenure)
    both = "".join(order[order.index("2") :])[:40]
    assert both.count("1") == both.count("2") == 20


async def test_a_tenure_that_ends_keeps_no_slot_and_stands_in_no_line() -> None:
    broker, slow = MemoryBroker(), Calls()
    await rows(broker, 8)
    group = Group(broker, subscribe(receiver_of(slow)), concurrency=2)
    tenure = await group.begin()
    await eventually(lambda: slow.running == 2)
    tenure.finish()
    slow.go.set()
    await tenure.wait()
    assert slow.most == 2
    assert len(slow.begun) == 2
    assert not group.tools.receivers.full
    assert not group.tools.receivers._of("r").wanted
    assert group.tools.receivers._of("r").busy == 0
    assert (group.tools.slots.busy, group.tools.slots.active) == (0, 0)
    await broker.release(tenure.lease)
    assert await broker.acquire(PARTITION, "mail", "next", 30)
