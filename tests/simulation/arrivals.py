"""Simulate workers that arrive while every row of a busy worker always has work.

Calls take up to ten seconds, and no offer of a partition finds the owner idle. Nothing else goes
wrong in these runs: no call may be cancelled, and each arrival has its share in time.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from edgy_bus.brokers.base import Broker, StreamHead
from edgy_bus.codec import pack
from edgy_bus.events import Event, Partition, partition_name, partitions_of
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from edgy_bus.signals import Options, Receiver
from tests.simulation.broker import Network, client
from tests.simulation.checker import Report
from tests.simulation.loop import Process
from tests.simulation.world import LEASE, MODEL, Member, Outcome, World

ROWS = 64
IN_TIME = 2.0
"""Seconds after the longest call within which an arrival has its share."""

_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = 60 * ROWS
"""More than a run can handle."""


class Quick(Network):
    """Answer soon, always: the time that a handover takes is the workers' own."""

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.002)
        answer = await getattr(self.redis, name)(*args, **kwargs)
        await asyncio.sleep(0.002)
        return answer


class Arrivals(World):
    """Run a worker, and then others that want their share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.report = Report()
        self.partitions = self.random.choice((1, 2, 4, 8))
        self.longest = self.random.choice((0.3, 2.0, 10.0))
        self.concurrency = self.random.choice((16, ROWS))
        self.begun: dict[str, int] = {}
        self.calls = 0

    def _process(self, kind: str) -> tuple[Process, Network, Broker]:
        process, _, _ = super()._process(kind)
        network = Quick(self.redis, process, self.random, self.loop)
        return process, network, client(network)

    def start_worker(self) -> Member:
        process, network, broker = self._process("worker")
        settings = WorkerSettings(
            concurrency=self.concurrency, lease=LEASE, grace=2.0, block=0.5, backoff=0.6
        )
        worker = Worker(broker, [Subscriptions("mail", self._subscriptions(process))], settings)
        self.workers[process] = worker
        self.loop.spawn(process, worker.start())
        return Member(process, network, self.start_worker)

    def _subscriptions(self, process: Process) -> list[Subscription]:
        async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
            if event.sequence < self.begun.get(event.subject, 0):
                self.report.add("order", f"{event.subject}: {event.sequence} again")
            self.begun[event.subject] = event.sequence
            self.calls += 1
            self.note("begins", process.name, event.id)
            try:
                await asyncio.sleep(self.longest * self.random.uniform(0.9, 1.0))
            except asyncio.CancelledError:
                self.report.add("cancelled", f"{event.id} in {process.name}")
                raise

        return [self._subscription("mail", Receiver(slow, Options(name="slow")))]

    async def main(self) -> None:
        await self._publish()
        self.members.append(self.start_worker())
        await asyncio.sleep(self.longest + 5.0)
        for _ in range(2):
            self.members.append(self.start_worker())
            arrived, begun = self.loop.time(), dict(self.begun)
            while not self._is_fair():
                if self.loop.time() - arrived > self.longest + IN_TIME:
                    late = self.loop.time() - arrived
                    self.report.add("share", f"no share {late:.1f} s after the arrival")
                    return
                await asyncio.sleep(0.05)
            # Rows take turns at the slots of the receiver.
            await asyncio.sleep(self.longest * (ROWS / self.concurrency + 1) + 1.0)
            forgotten = [row for row in begun if self.begun[row] == begun[row]]
            if forgotten:
                self.report.add("forgotten", f"no call since the arrival: rows {forgotten}")

    def _is_fair(self) -> bool:
        held = [
            len(worker.consumers[0].partitions)
            for worker in self.workers.values()
            if worker.consumers
        ]
        share = -(-self.partitions // len(self.workers))
        return sum(held) == self.partitions and max(held) <= share

    async def _publish(self) -> None:
        _, _, broker = self._process("publisher")
        await broker.declare(MODEL, self.partitions)
        events: dict[Partition, list[Event]] = {
            partition: [] for partition in partitions_of(MODEL, self.partitions)
        }
        for number in range(1, EVENTS + 1):
            subject = str(number % ROWS + 1)
            partition = Partition(MODEL, partition_name(subject, "", self.partitions))
            events[partition].append(self._event(number, subject))
        for partition, those in events.items():
            state = await broker.inspect(partition, StreamHead(), "epoch")
            assert await broker.publish(partition, state.head, [pack(one) for one in those])

    def _event(self, number: int, subject: str) -> Event:
        return Event(
            id=f"e{number}",
            source="accounts",
            model=MODEL,
            signal="post_save",
            subject=subject,
            time=_BEGINNING,
            data={"instance": {"id": subject}},
            sequence=number,
        )

    def _outcome(self) -> Outcome:
        outcome = super()._outcome()
        # Nothing was committed in these runs: the calls of receivers count.
        return replace(outcome, report=self.report, commits=self.calls)
