"""A receiver that is slower than the events come, beside a fast one, in virtual time."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.events import partitions_of
from edgy_bus.retrying import Retry
from edgy_bus.runtime import in_hand, lanes
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.simulation.loop import STARTED, VirtualLoop, run_virtually
from tests.support import event, publish
from tests.unit.runtime.support import subscribe

MODEL = "accounts.User"
PARTITIONS = partitions_of(MODEL, 4)
ROWS = 400
EVENTS = 2_000
MINUTE = 60.0
SETTINGS = WorkerSettings(concurrency=4, prefetch=50)


@dataclass
class Program:
    """Two receivers of a group: `slow` and `fast`.

    Attributes:
        heard: receiver to the row and the number of each finished call.
        away: whether `slow` fails.
    """

    loop: VirtualLoop
    heard: dict[str, list[tuple[str, int]]] = field(
        default_factory=lambda: {"slow": [], "fast": []}
    )
    away: bool = False

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(lambda: STARTED + self.loop.time())

    async def slow(self, sender: Any, event: Any, **kwargs: Any) -> None:
        await asyncio.sleep(10)
        if self.away:
            raise ConnectionError("the service is away")
        self.heard["slow"].append((event.subject, event.sequence))

    async def fast(self, sender: Any, event: Any, **kwargs: Any) -> None:
        self.heard["fast"].append((event.subject, event.sequence))

    async def publish(self) -> None:
        await self.broker.declare(MODEL, len(PARTITIONS))
        for number, partition in enumerate(PARTITIONS):
            rows = ((each % ROWS, each) for each in range(1, EVENTS + 1))
            here = [event(str(row), n) for row, n in rows if row % len(PARTITIONS) == number]
            await publish(self.broker, *here, partition=partition)

    def worker(self, **options: Any) -> Worker:
        subscriptions = [
            subscribe(self.slow, name="slow", **options),
            subscribe(self.fast, name="fast"),
        ]
        return Worker(self.broker, [Subscriptions("mail", subscriptions)], SETTINGS)

    async def aside(self) -> dict[str, str]:
        """Return the receivers that are set aside from any partition, and why."""
        asides = await self.broker.asides(PARTITIONS, "mail")
        return {name: each.reason for names in asides.values() for name, each in names.items()}

    def in_order(self, receiver: str) -> bool:
        rows: dict[str, list[int]] = {}
        for row, number in self.heard[receiver]:
            rows.setdefault(row, []).append(number)
        return all(numbers == sorted(set(numbers)) for numbers in rows.values())


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    for module in (lanes, in_hand):
        monkeypatch.setattr(module, "MOST", 100)
    return Program(VirtualLoop())


async def _until(condition: Any, loop: VirtualLoop, seconds: float) -> None:
    end = loop.time() + seconds
    while not condition():
        assert loop.time() < end, "it did not happen in time"
        await asyncio.sleep(1)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_slow_receiver_is_set_aside_and_comes_back(program: Program, workers: int) -> None:
    async def main() -> None:
        await program.publish()
        running = [program.worker() for _ in range(workers)]
        for worker in running:
            await worker.start()
        # Without setting aside, the fast one has to wait for the slow one: more than an hour.
        await _until(lambda: len(program.heard["fast"]) == EVENTS, program.loop, 2 * MINUTE)
        assert len(program.heard["slow"]) < EVENTS / 4
        assert await program.aside() == {"slow": "slow"}
        await _until(lambda: len(program.heard["slow"]) == EVENTS, program.loop, 120 * MINUTE)
        await asyncio.sleep(MINUTE)
        assert await program.aside() == {}
        for worker in running:
            await worker.stop()
        assert program.in_order("slow")
        assert program.in_order("fast")

    run_virtually(program.loop, main())


def test_a_receiver_whose_retries_fill_the_memory_is_set_aside(program: Program) -> None:
    async def main() -> None:
        program.away = True
        await program.publish()
        worker = program.worker(retry=Retry(attempts=9, delay=600, ceiling=600), breaker=None)
        await worker.start()
        await _until(lambda: len(program.heard["fast"]) == EVENTS, program.loop, 5 * MINUTE)
        assert program.heard["slow"] == []
        await worker.stop()

    run_virtually(program.loop, main())
