"""A call that hangs, or fails, beside a neighbour that does neither, in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.events import partitions_of
from edgy_bus.retrying import Retry
from edgy_bus.runtime import in_hand, lanes
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.simulation.loop import STARTED, VirtualLoop, run_virtually
from tests.support import event, publish
from tests.unit.runtime.support import subscribe

MODEL = "accounts.User"
HANGS = 280.0
"""Seconds of a call that hangs; the deadline of a call is 300 s."""


class Stage:
    """A broker, and two receivers: `a`, which is in trouble, and `b`, its neighbour.

    Attributes:
        heard: receiver to partition and time of each finished call.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.loop = VirtualLoop()
        self.broker = MemoryBroker(lambda: STARTED + self.loop.time())
        self.partitions = partitions_of(MODEL, partitions)
        self.heard: dict[str, list[tuple[str, float]]] = {"a": [], "b": []}
        self.published = self.calls = 0

    async def publish(self, count: int) -> None:
        """Append events of new rows to each partition."""
        await self.broker.declare(MODEL, len(self.partitions))
        for partition in self.partitions:
            numbers = range(self.published + 1, self.published + count + 1)
            self.published += count
            here = [event(f"{partition.name}-{number}", number) for number in numbers]
            await publish(self.broker, *here, partition=partition)

    def hear(self, receiver: str, event: Any) -> None:
        self.heard[receiver].append((event.subject.partition("-")[0], self.loop.time()))

    def b(self, seconds: float = 0, **options: Any) -> Subscription:
        async def receive(sender: Any, event: Any, **kwargs: Any) -> None:
            await asyncio.sleep(seconds)
            self.hear("b", event)

        return subscribe(receive, name="b", **options)

    def a(self, call: Callable[[int, Any], Coroutine[Any, Any, None]], **options: Any) -> Any:
        async def receive(sender: Any, event: Any, **kwargs: Any) -> None:
            self.calls += 1
            await call(self.calls, event)
            self.hear("a", event)

        return subscribe(receive, name="a", **options)

    def worker(self, *receivers: Subscription, **settings: Any) -> Worker:
        return Worker(self.broker, [Subscriptions("mail", receivers)], WorkerSettings(**settings))

    def longest_gap(self, receiver: str, partition: str, until: float) -> float:
        times = [at for place, at in self.heard[receiver] if place == partition and at < until]
        return max(after - before for before, after in pairwise(times))


PATIENT = Retry(attempts=50, delay=5)


def test_a_call_that_hangs_keeps_no_receiver_waiting_once_the_service_is_back() -> None:
    stage = Stage()

    async def call(number: int, event: Any) -> None:
        if number == 1:
            await asyncio.sleep(HANGS)
        elif stage.loop.time() < 23:
            await asyncio.sleep(0.1)
            raise ConnectionError("away")

    async def main() -> None:
        async with stage.worker(stage.a(call, retry=PATIENT), stage.b()):
            await asyncio.sleep(20)
            await stage.publish(60)
            await asyncio.sleep(60)
            assert len(stage.heard["a"]) == 59

    run_virtually(stage.loop, main())


def test_a_neighbour_goes_on_while_the_breaker_is_open_and_a_call_hangs() -> None:
    stage = Stage(partitions=2)

    async def call(number: int, event: Any) -> None:
        if number == 1:
            await asyncio.sleep(HANGS)
        raise ConnectionError("away")

    async def main() -> None:
        workers = [
            stage.worker(stage.a(call, retry=PATIENT), stage.b(), concurrency=20, prefetch=100)
            for _ in range(2)
        ]
        for worker in workers:
            await worker.start()
        await asyncio.sleep(20)
        await stage.publish(60)
        for _ in range(250):
            await asyncio.sleep(1)
            await stage.publish(1)
        for partition in stage.partitions:
            assert stage.longest_gap("b", partition.name, until=270) < 6
        for worker in workers:
            await worker.stop()

    run_virtually(stage.loop, main())


def test_a_receiver_that_comes_back_does_not_stand_behind_a_slow_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (lanes, in_hand):
        monkeypatch.setattr(module, "MOST", 300)
    stage = Stage()
    is_slow = False

    async def call(number: int, event: Any) -> None:
        await asyncio.sleep(20 if is_slow else 0)

    async def main() -> None:
        nonlocal is_slow
        settings = {"concurrency": 4, "prefetch": 50}
        await stage.publish(100)
        async with stage.worker(stage.a(call), **settings):
            await asyncio.sleep(120)
        is_slow = True
        await stage.publish(1_000)
        async with stage.worker(stage.a(call), stage.b(0.2, start="kept"), **settings):
            await asyncio.sleep(120)
            # At the pace of the slow one: more than an hour.
            assert len(stage.heard["b"]) >= 1_000

    run_virtually(stage.loop, main())
