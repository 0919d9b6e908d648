"""Run one group in one worker process: announce the worker, take its share of the partitions.

Every worker computes the shares from the list of live workers, with the same result. No worker
takes a partition from another: a partition changes hands when its owner gives the lease back, or
when the lease of an owner that died runs out.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterable
from contextlib import suppress

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.codec import dumps
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import PRE, Partition, partitions_of
from edgy_bus.runtime.assignment import assign
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.leases import LeaseRenewal
from edgy_bus.runtime.news import NewsWatch
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.window import Window
from edgy_bus.services import Service, happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_LOOK = 0.4
"""Seconds between two looks at the live workers: the rows of a worker that died are taken over this
much later than its lease ends."""

_SOON = 0.2
"""Seconds until the next look while another worker still holds a partition of this share."""


class Consumer(Service):
    """Handle the events that a group subscribed to, together with all other workers of the group.

    Attributes:
        group: the group's name.
        worker: the name of this worker in the group, unique to this consumer.
        stats: what this process has done for the group.
    """

    def __init__(
        self,
        broker: Broker,
        subscriptions: Subscriptions,
        settings: WorkerSettings,
        slots: Slots,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        self.group = subscriptions.group
        self.worker = secrets.token_hex(6)
        self.stats = Stats()
        self._broker = broker
        self._subscriptions = subscriptions
        self._settings = settings
        self._tenures: dict[Partition, Tenure] = {}
        self._renewal = LeaseRenewal(broker, settings, self._tenures)
        self._news = NewsWatch(settings, self._tenures)
        self._tools = Tools(
            broker=broker,
            subscriptions=subscriptions,
            settings=settings,
            slots=slots,
            stats=self.stats,
            window=Window(settings.window),
            idle=self._news.rearm,
            signer=signer,
        )
        self._ended = asyncio.Event()
        self._backoff: dict[Partition, float] = {}
        self._numbers = itertools.count(1)
        self._away = False

    @property
    def partitions(self) -> list[Partition]:
        """Return the partitions that this process holds now."""
        return sorted(self._tenures)

    async def stop(self) -> None:
        """Drain, give the partitions back and wait for the end."""
        self.stopping.set()
        self._ended.set()
        await self.wait()

    async def run(self) -> None:
        """Take part in the group until stopped."""
        bell = self._broker.bell()
        helpers = [
            asyncio.create_task(self._renewal.run()),
            asyncio.create_task(self._news.listen(bell)),
            asyncio.create_task(self._news.interrupt(bell)),
        ]
        try:
            while not self.stopping.is_set():
                await self._sleep(await self._step())
                _raise_mistakes(helpers)
            await self._step_down()
        finally:
            for helper in helpers:
                helper.cancel()
            tenures = [tenure.abort() for tenure in self._tenures.values()]
            await asyncio.gather(*helpers, *tenures, return_exceptions=True)
            await bell.close()

    # The rounds

    async def _step(self) -> float:
        """Make one round; return the seconds until the next."""
        try:
            waiting = await self._round()
        except BrokerUnavailable as error:
            if not self._away:
                telemetry.emit(
                    catalogue.BrokerUnavailable(
                        part=f"worker of group {self.group}", error=str(error)
                    )
                )
            self._away = True
            return min(1.0, self._settings.backoff)
        except BrokerError as error:
            telemetry.emit(catalogue.ConsumerFailed(group=self.group, error=str(error)))
            return self._settings.backoff
        if self._away:
            telemetry.emit(catalogue.BrokerAvailable(part=f"worker of group {self.group}"))
        self._away = False
        return _SOON if waiting else min(_LOOK, self._settings.lease / 4)

    async def _round(self) -> bool:
        """Give partitions back, and take others, according to the share.

        Returns:
            Whether a partition of the share is missing, because another worker still holds it.
        """
        await self._give_back_ended()
        share = await self._share()
        for partition, tenure in self._tenures.items():
            if partition not in share:
                tenure.finish()
        now = asyncio.get_running_loop().time()
        wanted = [
            partition
            for partition in sorted(share)
            if partition not in self._tenures and self._backoff.get(partition, 0) <= now
        ]
        taking = (self._take(partition) for partition in wanted)
        for error in await asyncio.gather(*taking, return_exceptions=True):
            # Only now, when all have been tried: those that succeeded are held.
            if error is not None:
                raise error
        return bool(share - self._tenures.keys())

    async def _share(self) -> set[Partition]:
        """Announce this worker, and return the partitions that it should hold."""
        members = await self._broker.join(
            self.group, self.worker, self._settings.lease, self._report()
        )
        assigned = assign(members.alive, await self._partitions())
        return {partition for partition, owner in assigned.items() if owner == self.worker}

    async def _partitions(self) -> list[Partition]:
        """Return every partition that concerns the group; a model never published has none."""
        declared = await self._broker.declared()
        partitions = [
            partition
            for model in self._subscriptions.ordered_models
            for partition in partitions_of(model, declared.get(model, 0))
        ]
        return partitions + [Partition(model, PRE) for model in self._subscriptions.pre_models]

    async def _take(self, partition: Partition) -> None:
        requested = asyncio.get_running_loop().time()
        # A name that no other tenure ever had: a broker that has lost its data counts tenures from
        # one again, and a call of an old tenure that arrives late must not pass for a call of the
        # new tenure.
        owner = f"{self.worker}.{next(self._numbers)}"
        lease = await self._broker.acquire(partition, self.group, owner, self._settings.lease)
        if lease is None:
            return
        tenure = Tenure(lease, requested + self._settings.lease, self._tools)
        self._tenures[partition] = tenure
        await tenure.start()
        telemetry.emit(catalogue.PartitionTaken(group=self.group, partition=str(partition)))

    async def _give_back_ended(self) -> None:
        for tenure in self._forget_ended():
            await self._broker.release(tenure.lease)
            telemetry.emit(
                catalogue.PartitionReleased(group=self.group, partition=str(tenure.partition))
            )

    def _forget_ended(self) -> list[Tenure]:
        """Forget the tenures that have ended; return them, because their leases may be held."""
        ended = [tenure for tenure in self._tenures.values() if not tenure.running]
        for tenure in ended:
            del self._tenures[tenure.partition]
            if tenure.failure is not None:
                now = asyncio.get_running_loop().time()
                self._backoff[tenure.partition] = now + self._settings.backoff
        return ended

    async def _step_down(self) -> None:
        """Leave the group, drain, and give every partition back."""
        # A broker that is away forgets this worker when the worker's time has run out.
        with suppress(BrokerError):
            await self._broker.leave(self.group, self.worker)
        for tenure in self._tenures.values():
            tenure.finish()
        while self._tenures:
            try:
                await self._give_back_ended()
            except BrokerError:
                self._forget_ended()  # their leases run out
            await self._sleep(_SOON)

    def _report(self) -> bytes:
        """Return what `edgy-bus` and other processes can read about this worker."""
        stats = self.stats
        return dumps(
            {
                "protocol": PROTOCOL.version,
                "handled": stats.handled,
                "skipped": stats.skipped,
                "retries": stats.retries,
                "dead": stats.dead,
                "partitions": len(self._tenures),
            }
        )

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the next round, or until the consumer is to stop."""
        if await happens(self._ended, seconds):
            self._ended.clear()


def _raise_mistakes(helpers: "Iterable[asyncio.Task[None]]") -> None:
    """Raise the error of a loop that has ended: such a loop ends by a mistake only."""
    for helper in helpers:
        if helper.done():
            helper.result()
