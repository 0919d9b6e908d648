"""The programs of one group, with different receivers, on a broker in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from edgy_bus.brokers.base import StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import pack
from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import event
from tests.unit.runtime.support import subscribe

SETTINGS = WorkerSettings(lease=0.6, block=0.05, backoff=0.05, grace=5.0)
MODEL = "accounts.User"
PARTITIONS = partitions_of(MODEL, 4)


class Programs:
    """A broker with events of several partitions, and the programs of the group `mail`."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.heads: dict[Partition, StreamHead] = {}
        self.heard: dict[str, list[tuple[str, int]]] = {}
        """Receiver to row and number of each call."""
        self.functions: dict[str, str] = {}
        """Receiver to the receiver that its function is, if it was renamed."""
        self.fails: set[str] = set()
        """Receivers that fail."""
        self.last = 0

    def worker(self, *receivers: str, **options: Any) -> Worker:
        """Return a program with some receivers."""
        subscriptions = [
            subscribe(self._receiver(name), name=name, **options) for name in receivers
        ]
        return Worker(self.broker, [Subscriptions("mail", subscriptions)], SETTINGS)

    def _receiver(self, name: str) -> Callable[..., Awaitable[None]]:
        async def receive(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            if name in self.fails:
                raise ValueError("the other side is away")
            self.heard.setdefault(self.functions.get(name, name), []).append(
                (event.subject, event.sequence)
            )

        return receive

    async def publish(self, count: int = 5) -> None:
        """Append events of a row to each partition."""
        await self.broker.declare(MODEL, len(PARTITIONS))
        for partition in PARTITIONS:
            head = self.heads.get(partition)
            if head is None:
                head = (await self.broker.inspect(partition, StreamHead(), "epoch")).head
            for _ in range(count):
                self.last += 1
                made = event(partition.name, self.last)
                entries = await self.broker.publish(partition, head, [pack(made)])
                assert entries is not None
                head = StreamHead(head.epoch, entries[-1], made.id)
            self.heads[partition] = head

    def has_all(self, *receivers: str) -> bool:
        """Return whether receivers have handled every event once, in the order of each row."""
        return all(self.is_complete(self.heard.get(name, [])) for name in receivers)

    def is_complete(self, calls: list[tuple[str, int]]) -> bool:
        rows: dict[str, list[int]] = {}
        for row, number in calls:
            rows.setdefault(row, []).append(number)
        assert all(numbers == sorted(set(numbers)) for numbers in rows.values())
        return len(calls) == self.last

    async def finished(self) -> bool:
        """Return whether no stream waits for the group."""
        for partition, head in self.heads.items():
            progress = await self.broker.progress(partition, head)
            if not progress or progress["mail"] <= head.entry:
                return False
        return True

    async def aside(self) -> set[str]:
        """Return the receivers that are set aside from any partition."""
        asides = await self.broker.asides(PARTITIONS, "mail")
        return {name for names in asides.values() for name in names}
