"""A worker process: one consumer for each of its groups, and the slots that they share."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.brokers.protocol import Agreement
from edgy_bus.database import Database
from edgy_bus.database.versions import prepare
from edgy_bus.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable, EdgyBusError
from edgy_bus.runtime import inbox
from edgy_bus.runtime.consumer import Consumer
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.services import Service
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

_Unavailable = catalogue.BrokerUnavailable | catalogue.DatabaseUnavailable
_Available = catalogue.BrokerAvailable | catalogue.DatabaseAvailable

_NOTICES: Mapping[type[EdgyBusError], tuple[type[_Unavailable], type[_Available]]] = {
    BrokerUnavailable: (catalogue.BrokerUnavailable, catalogue.BrokerAvailable),
    DatabaseUnavailable: (catalogue.DatabaseUnavailable, catalogue.DatabaseAvailable),
}


class Worker(Service):
    """Runs the receivers of some groups until it is stopped.

    Args:
        broker: connected by the worker, as soon as it answers.
        groups: what each group subscribed to.
        settings: numbers.
        alive: called now and then while the worker works.
        signer: knows the signatures that events must have; None accepts events without.
    """

    def __init__(
        self,
        broker: Broker,
        groups: Sequence[Subscriptions],
        settings: WorkerSettings,
        alive: Callable[[], None] | None = None,
        signer: Signer | None = None,
    ) -> None:
        super().__init__()
        if not any(len(group) for group in groups):
            names = ", ".join(repr(group.group) for group in groups)
            raise ConfigurationError(
                f"there is nothing to do: no receiver runs in group {names or 'of any name'}. Connect receivers before the worker "
                "starts (import their module), and see that they are not local=True"
            )
        self._broker = broker
        self._groups = [group for group in groups if len(group)]
        self._settings = settings
        self._alive = alive
        self._signer = signer
        self.consumers: list[Consumer] = []

    async def run(self) -> None:
        if not await self._until_it_works(self._prepare_inboxes):
            return
        if not await self._until_it_works(self._broker.connect):
            return
        if not await self._until_it_works(Agreement(self._broker).renew):
            return
        slots = Slots(self._settings.concurrency)
        self.consumers = [
            Consumer(self._broker, group, self._settings, slots, self._signer)
            for group in self._groups
        ]
        for consumer in self.consumers:
            await consumer.start()
        telemetry.emit(catalogue.WorkerStarted(groups=[group.group for group in self._groups]))
        try:
            while not self.stopping.is_set():
                if self._alive is not None:
                    self._alive()
                await self.pause(min(2.0, self._settings.lease / 2))
        finally:
            telemetry.emit(catalogue.WorkerDraining(groups=[group.group for group in self._groups]))
            await asyncio.gather(*(consumer.stop() for consumer in self.consumers))
            telemetry.emit(catalogue.WorkerStopped(groups=[group.group for group in self._groups]))

    async def _prepare_inboxes(self) -> None:
        databases = {id(one): one for group in self._groups for one in group.inboxes}
        for database in databases.values():
            if isinstance(database, Database):
                await prepare(database, inbox.TABLES)

    async def _until_it_works(self, start: Callable[[], Awaitable[None]]) -> bool:
        """Call `start` until it succeeds, and report an outage once; False if stopped meanwhile."""
        away: type[_Available] | None = None
        while not self.stopping.is_set():
            try:
                await start()
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                if away is None:
                    unavailable, away = _NOTICES[type(error)]
                    telemetry.emit(unavailable(part="worker", error=str(error)))
                if self._alive is not None:
                    self._alive()
                await self.pause(min(1.0, self._settings.backoff))
            else:
                if away is not None:
                    telemetry.emit(away(part="worker"))
                return True
        return False
