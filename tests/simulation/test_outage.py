"""A service that a receiver calls is away for 45 minutes, or for ever, of virtual time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import edgy_bus as edgy
from edgy_bus.brokers.base import StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import pack
from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from edgy_bus.signals import Options
from tests.simulation.loop import STARTED, VirtualLoop, run_virtually
from tests.support import event
from tests.unit.runtime.support import subscribe

MODEL = "accounts.User"
PARTITIONS = partitions_of(MODEL, 4)
ROWS = 24
MINUTE = 60.0


@dataclass
class Outage:
    """A program with two receivers: `mail` calls a service that is away, `audit` calls nothing.

    Attributes:
        ends: when the service answers again, in seconds of the loop.
        calls: the calls of `mail`.
        heard: receiver to the events of its finished calls.
    """

    loop: VirtualLoop
    ends: float
    breaker: edgy.Breaker | None
    calls: int = 0
    heard: dict[str, list[tuple[str, int]]] = field(
        default_factory=lambda: {"send": [], "audit": []}
    )
    published: int = 0

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(lambda: STARTED + self.loop.time())
        self._heads: dict[Partition, StreamHead] = {}

    async def send(self, sender: Any, event: Any, **kwargs: Any) -> None:
        self.calls += 1
        await asyncio.sleep(0.05)
        if self.loop.time() < self.ends:
            raise ConnectionError("the mail server is away")
        self.heard["send"].append((event.subject, event.sequence))

    async def audit(self, sender: Any, event: Any, **kwargs: Any) -> None:
        self.heard["audit"].append((event.subject, event.sequence))

    async def publish(self) -> None:
        """Append an event to each row."""
        for row in range(ROWS):
            partition = PARTITIONS[row % len(PARTITIONS)]
            head = self._heads.get(partition)
            if head is None:
                head = (await self.broker.inspect(partition, StreamHead(), "epoch")).head
            self.published += 1
            made = event(str(row), self.published)
            entries = await self.broker.publish(partition, head, [pack(made)])
            assert entries is not None
            self._heads[partition] = StreamHead(head.epoch, entries[-1], made.id)

    async def dead(self) -> int:
        """Return the number of dead letters."""
        backlogs = [await self.broker.backlog(each) for each in PARTITIONS]
        return sum(group.dead for groups in backlogs for group in groups)

    async def run(self, seconds: float, workers: int = 2) -> None:
        """Run workers for a while, with an event of every row every three minutes."""
        await self.broker.declare(MODEL, len(PARTITIONS))
        subscriptions = [
            subscribe(self.send, name="send", breaker=self.breaker, retry=edgy.Retry()),
            subscribe(self.audit, name="audit"),
        ]
        running = [
            Worker(self.broker, [Subscriptions("mail", subscriptions)], WorkerSettings())
            for _ in range(workers)
        ]
        for worker in running:
            await worker.start()
        while self.loop.time() < seconds:
            await self.publish()
            await asyncio.sleep(3 * MINUTE)
        for worker in running:
            await worker.stop()

    def in_order(self, receiver: str) -> bool:
        rows: dict[str, list[int]] = {}
        for row, number in self.heard[receiver]:
            rows.setdefault(row, []).append(number)
        return all(numbers == sorted(set(numbers)) for numbers in rows.values())


def simulated(
    ends: float, check: Callable[[Outage], Any], seconds: float, breaker: edgy.Breaker | None
) -> None:
    loop = VirtualLoop()
    outage = Outage(loop, ends, breaker)

    async def main() -> None:
        await outage.run(seconds)
        await check(outage)

    run_virtually(loop, main())


def test_by_default_the_receiver_catches_up_in_order_after_45_minutes() -> None:
    async def check(outage: Outage) -> None:
        assert len(outage.heard["audit"]) == outage.published, "the neighbour went on"
        assert outage.in_order("send")
        # Only events that were called again and again to see whether the service answers.
        dead = await outage.dead()
        assert len(outage.heard["send"]) == outage.published - dead
        assert dead <= edgy.Breaker().failures
        # A burst until the breaker opens, and a call of each process each minute.
        assert outage.calls - outage.published < 150

    simulated(45 * MINUTE, check, 52 * MINUTE, Options().breaker)


def test_away_for_ever_events_end_in_the_dead_letters() -> None:
    async def check(outage: Outage) -> None:
        assert len(outage.heard["audit"]) == outage.published, "the neighbour went on"
        assert outage.heard["send"] == []
        # The attempts at an event take eight minutes, and hold up the later events of its row.
        dead = await outage.dead()
        assert dead >= 3 * ROWS

    simulated(1e9, check, 40 * MINUTE, edgy.Breaker(lasting=10 * MINUTE))


def test_without_a_breaker_every_event_of_the_outage_uses_up_its_attempts() -> None:
    async def check(outage: Outage) -> None:
        assert await outage.dead() > 3 * ROWS

    simulated(45 * MINUTE, check, 45 * MINUTE, None)
