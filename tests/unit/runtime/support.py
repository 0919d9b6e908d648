"""Subscriptions and tenures on a broker in memory."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker, EntryId
from edgy_bus.codec import Envelope, pack, unpack
from edgy_bus.events import Partition
from edgy_bus.portions import Portion
from edgy_bus.retrying import Retry
from edgy_bus.runtime.failures import Failures
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.load import Load
from edgy_bus.runtime.slots import ReceiverSlots, Slots
from edgy_bus.runtime.subscriptions import Snapshot, Subscription, Subscriptions
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.window import Window
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from edgy_bus.signals import Options, Receiver
from tests.support import PARTITION, event

QUICK = Retry(attempts=3, delay=0.01, factor=1, jitter=0)


SETTINGS = WorkerSettings(lease=0.6, block=0.05, backoff=0.05, grace=5.0)


def read(row: Mapping[str, Any] | None) -> Any:
    return None if row is None else Snapshot(row)


def subscribe(function: Any, signal: str = "post_save", **options: Any) -> Subscription:
    given = Options(**{"name": "r", "retry": QUICK, **options})
    return Subscription(
        "mail", "accounts.User", signal, Receiver(function, given), "accounts.User", read
    )


def worker_on(
    broker: Broker, function: Any, settings: WorkerSettings = SETTINGS, **options: Any
) -> Worker:
    return Worker(broker, [Subscriptions("mail", [subscribe(function, **options)])], settings)


def envelope(**changes: Any) -> Envelope:
    made = event(**{"subject": "1", "sequence": 1, **changes})
    wire = pack(made)
    return unpack({b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data})


class Effects:
    """A table that receivers write to."""

    def __init__(self, url: str) -> None:
        self.registry = edgy.Registry(url)

        class Effect(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            n: int = edgy.IntegerField()

            class Meta:
                registry = self.registry

        self.model = Effect

    async def all(self) -> list[int]:
        return [row.n for row in await self.model.query.order_by("id")]


class Group:
    """What a group's consumer has in a process, to begin tenures of one partition with."""

    def __init__(
        self,
        broker: Broker,
        *subscriptions: Subscription,
        idle: Callable[[Partition, EntryId], None] | None = None,
        failures: Failures | None = None,
        **settings: Any,
    ) -> None:
        self.broker = broker
        self.settings = WorkerSettings(**{"grace": 5.0, "block": 0.05, "backoff": 0.05, **settings})
        self.stats = Stats()
        self.tools = Tools(
            broker,
            Subscriptions("mail", subscriptions),
            self.settings,
            Slots(max(self.settings.calls, self.settings.concurrency)),
            ReceiverSlots(self.settings.concurrency),
            Load(self.settings.in_hand_bytes, self.settings.waiting_bytes),
            Portion(self.settings.fetch_bytes),
            self.stats,
            Window(self.settings.window),
            idle or (lambda *_: None),
            failures=failures or Failures(),
        )

    async def begin(self, owner: str = "w", lasts: float = 30.0) -> Tenure:
        lease = await self.broker.acquire(PARTITION, "mail", owner, self.settings.lease)
        assert lease is not None, "somebody else holds the lease"
        tenure = Tenure(lease, asyncio.get_running_loop().time() + lasts, self.tools)
        await tenure.start()
        return tenure

    async def end(self, tenure: Tenure) -> None:
        tenure.finish(self.settings.grace)
        await tenure.wait()
        await self.broker.release(tenure.lease)

    async def pending(self) -> int:
        return sum(one.unfinished for one in await self.broker.backlog(PARTITION))

    async def unfinished(self) -> int:
        return sum(
            one.unfinished + (one.unread or 0) for one in await self.broker.backlog(PARTITION)
        )
