"""The relay: moves pending outbox rows to their streams, in commit order.

Each row is published exactly once, unless the broker loses the row. Safety comes from
compare-and-set: `Broker.publish` appends only where the stream stands at the head that this
database knows, and a mark is made only if that head is still the database's. Any number of relays
may run; the lease keeps them from wasting work. A crash between the append and the mark leaves a
stream that is ahead of its head, which the next relay notices and repairs.
"""

import asyncio
from collections.abc import Callable, Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.outbox.leading import Leader
from edgy_bus.outbox.notifier import CHANNEL
from edgy_bus.outbox.publishing import Publisher
from edgy_bus.outbox.repairing import Repairer
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.tidying import Tidier
from edgy_bus.outbox.troubles import Troubles
from edgy_bus.services import Bell, Service
from edgy_bus.settings import RelaySettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_FIRST_PAUSE = 0.05


class Relay(Service):
    """Publishes the outbox of a service: leads, repairs, publishes and tidies, in this order.

    `models` returns the service's models and their numbers of partitions. `bell` is rung after
    commits in this process, and by PostgreSQL after commits in other processes; without a ring the
    relay looks every `poll` seconds.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        broker: Broker,
        service: str,
        models: Callable[[], Mapping[str, int]],
        settings: RelaySettings,
        bell: Bell,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        self.bell = bell
        self._store = store
        self._service = service
        self._settings = settings
        troubles = Troubles(_time, settings.backoff)
        self.leader = Leader(broker, service, settings.lease)
        self.repairer = Repairer(store, broker, models, troubles)
        self.publisher = Publisher(
            store=store,
            broker=broker,
            service=service,
            models=models,
            settings=settings,
            signer=signer,
            troubles=troubles,
        )
        self.tidier = Tidier(store, broker, self.repairer, settings, troubles)
        # A relay compares all streams once in every tenure.
        self._tenure = 0
        self._reported = ""
        """The kind of error that was reported last, until a step succeeds."""

    @property
    def published(self) -> int:
        """Events that this relay has appended and marked."""
        return self.publisher.published

    async def run(self) -> None:
        try:
            async with self._store.database.listen(CHANNEL, self.bell.ring):
                await self._work()
        finally:
            # Or the next relay would wait for the end of the lease.
            await self.leader.hand_back()

    async def stop(self) -> None:
        self.stopping.set()
        self.bell.ring()
        await self.wait()

    async def step(self) -> bool:
        """Look at the outbox once; whether there may be more to do at once.

        Raises the error of the broker or of the database, and `ConfigurationError`.
        """
        if not await self.leader.step():
            return False
        # The relay that led before may have crashed between an append and its mark.
        if self.leader.tenure != self._tenure or not self.repairer.verified:
            await self.repairer.step()
            self._tenure = self.leader.tenure
        published = await self.publisher.step()
        for partition, head in published.refused.items():
            await self.repairer.after_refusal(partition, head)
        # Last, and a slice at a time: events come before everything else.
        return await self.tidier.step() or published.more

    async def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self.stopping.is_set():
            try:
                busy = await self.step()
            except Exception as error:  # noqa: BLE001 - rows wait in the outbox
                self._report_failure(error)
                await self.pause(pause)
                pause = min(self._settings.backoff, pause * 2)
                continue
            self._report_success()
            pause = _FIRST_PAUSE
            # The bell keeps a ring of the time of the step: the wait ends at once.
            if not busy and not self.stopping.is_set():
                await self.bell.wait(self._settings.poll)

    def _report_failure(self, error: Exception) -> None:
        """Report an error, once for each kind of error."""
        kind = type(error).__name__
        if kind != self._reported:
            text = f"{kind}: {error}"
            telemetry.emit(
                catalogue.BrokerUnavailable(part="relay", error=text)
                if isinstance(error, BrokerUnavailable)
                else catalogue.RelayFailed(service=self._service, error=text)
            )
        self._reported = kind

    def _report_success(self) -> None:
        if self._reported:
            telemetry.emit(catalogue.RelayRecovered(service=self._service))
        self._reported = ""


def _time() -> float:
    return asyncio.get_running_loop().time()
