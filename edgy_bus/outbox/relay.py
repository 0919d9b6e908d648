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
from edgy_bus.errors import BrokerNotReady, BrokerUnavailable
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
    """Publishes the events of a service in a database: leads, repairs, publishes, then tidies.

    `models` returns the service's models and their numbers of partitions. `bell` is rung after
    commits in this process, and by PostgreSQL after commits in other processes; without a ring the
    relay looks every `poll` seconds.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        broker: Broker,
        models: Callable[[], Mapping[str, int]],
        settings: RelaySettings,
        bell: Bell,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        self.bell = bell
        self._store = store
        self._broker = broker
        self._settings = settings
        troubles = Troubles(_time, settings.backoff)
        self.leader = Leader(broker, store, settings.lease)
        self.repairer = Repairer(store, broker, models, troubles)
        self.publisher = Publisher(
            store=store,
            broker=broker,
            models=models,
            settings=settings,
            signer=signer,
            troubles=troubles,
        )
        self.tidier = Tidier(store, broker, self.repairer, settings, troubles)
        self._connected_in = 0
        """The tenure for which the broker was looked at."""
        self._compared_in = 0
        """The tenure in which all streams were compared."""
        self.ready = False
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

    def ask_to_stop(self) -> None:
        super().ask_to_stop()
        self.bell.ring()

    async def step(self) -> bool:
        """Look at the outbox once; whether there may be more to do at once.

        Raises the error of the broker or of the database, and `ConfigurationError`.
        """
        if not await self.leader.step():
            return False
        if self.leader.tenure != self._connected_in:
            # Once in a tenure, and not at each step that fails: this reports a server that may lose
            # data, and refuses one that cannot be used.
            await self._broker.connect()
            self.tidier.begin_anew()
            self._connected_in = self.leader.tenure
        # The relay that led before may have crashed between an append and its mark.
        if self.leader.tenure != self._compared_in or not self.repairer.verified:
            await self.repairer.step()
            self._compared_in = self.leader.tenure
        try:
            published = await self.publisher.step()
        except BrokerNotReady:
            # A broker that is full takes no event before old ones are trimmed. A broker that does
            # not answer would let trimming wait for nothing.
            await self.tidier.step()
            raise
        for partition, head in published.refused.items():
            await self.repairer.look_at(partition, head)
        # Last, and a slice at a time: events come before everything else.
        return await self.tidier.step() or published.more

    async def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self.stopping.is_set():
            self.progress.note(rests=self._settings.poll)
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
                # Not longer than the lease allows: a standby takes over in time, and the leader
                # renews, also with a long `poll`.
                await self.bell.wait(min(self._settings.poll, self.leader.rest))

    def _report_failure(self, error: Exception) -> None:
        """Report an error, once for each kind of error."""
        kind = type(error).__name__
        if kind != self._reported:
            text = f"{kind}: {error}"
            telemetry.emit(
                catalogue.BrokerUnavailable(part="relay", error=text)
                if isinstance(error, BrokerUnavailable)
                else catalogue.RelayFailed(
                    service=self._store.service, outbox=self._store.id, error=text
                )
            )
        self._reported = kind

    def _report_success(self) -> None:
        self.ready = True
        if self._reported:
            recovered = catalogue.RelayRecovered(service=self._store.service, outbox=self._store.id)
            telemetry.emit(recovered)
        self._reported = ""


def _time() -> float:
    return asyncio.get_running_loop().time()
