"""Run a worker process: one consumer for each of its groups, and the slots that they share."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Requirement:
    """Describe a part that a worker needs before it starts, and how an outage is reported."""

    start: Callable[[], Awaitable[None]]
    outage: type[EdgyBusError]
    unavailable: type[catalogue.BrokerUnavailable | catalogue.DatabaseUnavailable]
    available: type[catalogue.BrokerAvailable | catalogue.DatabaseAvailable]


def _database(start: Callable[[], Awaitable[None]]) -> _Requirement:
    return _Requirement(
        start,
        DatabaseUnavailable,
        catalogue.DatabaseUnavailable,
        catalogue.DatabaseAvailable,
    )


def _broker(start: Callable[[], Awaitable[None]]) -> _Requirement:
    return _Requirement(
        start,
        BrokerUnavailable,
        catalogue.BrokerUnavailable,
        catalogue.BrokerAvailable,
    )


class Worker(Service):
    """Run the receivers of some groups until stopped.

    Args:
        broker: connected by the worker, as soon as the broker answers.
        groups: the subscriptions of each group.
        settings: the numbers.
        alive: called now and then while the worker works.
        signer: knows the keys of signatures that events must have; None accepts events without.

    Attributes:
        consumers: one for each group, once the worker has started.
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
                f"there is nothing to do: no receiver runs in group {names or 'of any name'}. "
                "Connect receivers before the worker starts (import their module), and see that "
                "they are not local=True"
            )
        self._broker = broker
        self._groups = [group for group in groups if len(group)]
        self._settings = settings
        self._alive = alive
        self._signer = signer
        self.consumers: list[Consumer] = []

    async def run(self) -> None:
        """Wait for databases and broker, and run the groups.

        Raises:
            Exception: the mistake that ended a consumer.
        """
        # In this order: without its inbox's table, a receiver would fail at every event.
        requirements = (
            _database(self._prepare_inboxes),
            _broker(self._broker.connect),
            _broker(Agreement(self._broker).renew),
        )
        for requirement in requirements:
            if not await self._until_available(requirement):
                return
        # The groups of a process share its slots: `concurrency` bounds the process.
        slots = Slots(self._settings.concurrency)
        self.consumers = [
            Consumer(self._broker, group, self._settings, slots, self._signer)
            for group in self._groups
        ]
        names = [group.group for group in self._groups]
        for consumer in self.consumers:
            await consumer.start()
        telemetry.emit(catalogue.WorkerStarted(groups=names))
        try:
            await self._until_ended()
        finally:
            telemetry.emit(catalogue.WorkerDraining(groups=names))
            mistakes = await self._stop_consumers()
            telemetry.emit(catalogue.WorkerStopped(groups=names))
            for mistake in mistakes:
                raise mistake

    async def _until_ended(self) -> None:
        """Wait until the worker is to stop, or until a consumer has ended by a mistake."""
        # A process that lives on without one of its groups looks healthy, and no supervisor would
        # restart the process. So the worker ends with the first consumer that ends.
        endings: list[asyncio.Task[object]] = [
            asyncio.create_task(consumer.wait()) for consumer in self.consumers
        ]
        endings.append(asyncio.create_task(self.stopping.wait()))
        pulse = min(2.0, self._settings.lease / 2)
        try:
            ended: set[asyncio.Task[object]] = set()
            while not ended:
                self._show_life()
                ended, _ = await asyncio.wait(
                    endings, timeout=pulse, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for ending in endings:
                ending.cancel()
            await asyncio.gather(*endings, return_exceptions=True)

    async def _stop_consumers(self) -> list[BaseException]:
        """Stop all consumers, and return their mistakes."""
        # Each consumer drains and gives its partitions back, no matter how another consumer ends.
        stops = (consumer.stop() for consumer in self.consumers)
        answers = await asyncio.gather(*stops, return_exceptions=True)
        return [answer for answer in answers if answer is not None]

    async def _prepare_inboxes(self) -> None:
        databases = {id(database): database for group in self._groups for database in group.inboxes}
        for database in databases.values():
            if isinstance(database, Database):
                await prepare(database, inbox.TABLES)

    async def _until_available(self, requirement: _Requirement) -> bool:
        """Start a requirement, as often as needed; report an outage once.

        Returns:
            False if the worker was stopped meanwhile.
        """
        away = False
        while not self.stopping.is_set():
            try:
                await requirement.start()
            except requirement.outage as error:
                # Once: an outage may last for hours.
                if not away:
                    telemetry.emit(requirement.unavailable(part="worker", error=str(error)))
                away = True
                self._show_life()
                await self.pause(min(1.0, self._settings.backoff))
            else:
                if away:
                    telemetry.emit(requirement.available(part="worker"))
                return True
        return False

    def _show_life(self) -> None:
        if self._alive is not None:
            self._alive()
