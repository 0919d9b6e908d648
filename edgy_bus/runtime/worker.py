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
from edgy_bus.runtime.hooks import ErrorHook, ErrorHooks
from edgy_bus.runtime.keeper import Keeper
from edgy_bus.runtime.listing import listed
from edgy_bus.runtime.load import Load
from edgy_bus.runtime.pruning import InboxPruner
from edgy_bus.runtime.registrar import Registrar
from edgy_bus.runtime.slots import Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.tallies import Tallies
from edgy_bus.runtime.tenure import LAST_WORDS
from edgy_bus.services import Service, failure_of, interruptible, next_pause
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import Measurement, catalogue

_LAST_ERRORS = 2.0
"""Seconds for the hooks of errors at the end of the worker."""
GIVING_BACK = 3.0
"""Seconds to give leases back, after the time for running receivers."""


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
        alive: called every few seconds as long as every loop makes progress.
        signer: knows the keys of signatures that events must have; None accepts events without.
        hooks: called with the errors of receivers.
        version: the version of the program, empty if unknown. None: no history is written.

    Attributes:
        consumers: one for each group, once the worker has started.
    """

    # A start that fails for now is repeated below; a mistake of configuration ends the worker.
    restarts = False

    def __init__(
        self,
        broker: Broker,
        groups: Sequence[Subscriptions],
        settings: WorkerSettings,
        alive: Callable[[], None] | None = None,
        signer: Signer | None = None,
        *,
        hooks: Sequence[ErrorHook] = (),
        version: str | None = None,
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
        self._hooks = ErrorHooks(hooks)
        self._version = version
        self.consumers: list[Consumer] = []
        self._loops: list[Service] = []
        # Running receivers have the grace time; leases and connections are given back after that.
        self.stops_within = settings.grace + LAST_WORDS + GIVING_BACK

    async def run(self) -> None:
        """Wait for databases and broker, and run the groups.

        Raises:
            ConfigurationError: a mistake that no waiting mends. No later error ends the worker.
        """
        # In this order: without its inbox's table, a receiver would fail at every event.
        requirements = (
            _database(self._prepare_inboxes),
            _broker(self._broker.connect),
            _broker(Agreement(self._broker).renew),
            _broker(self._learn_names),
        )
        for requirement in requirements:
            if not await self._until_available(requirement):
                return
        # First to start and last to stop: tenures need their leases until their receivers ended.
        async with Keeper(self._broker, self._settings) as keeper:
            await self._serve(keeper)

    async def _serve(self, keeper: Keeper) -> None:
        """Run the groups until stopped."""
        # The groups of a process share its slots and its memory.
        slots = Slots(max(self._settings.calls, self._settings.concurrency))
        registrar = Registrar(self._broker, self._settings, len(self._groups))
        load = Load(self._settings.in_hand_bytes, self._settings.waiting_bytes)
        self.consumers = [
            Consumer(
                self._broker,
                group,
                self._settings,
                slots,
                keeper,
                registrar=registrar,
                load=load,
                signer=self._signer,
                hooks=self._hooks,
            )
            for group in self._groups
        ]
        names = [group.group for group in self._groups]
        await self._hooks.start()
        self._loops = [*self.consumers, *self._pruners(), *self._tallies()]
        for loop in self._loops:
            await loop.start()
        self._report_start(names)
        self._check_retries()
        try:
            while not self.stopping.is_set():
                self._show_life()
                await self.pause(min(2.0, self._settings.lease / 2))
        finally:
            telemetry.emit(catalogue.WorkerDraining(groups=names))
            await self._stop_loops()
            # After the consumers: the errors of the last calls are handed over as well.
            await self._hooks.finish(_LAST_ERRORS)
            telemetry.emit(catalogue.WorkerStopped(groups=names))

    def _check_retries(self) -> None:
        """Report receivers whose attempts may take longer than any outbox keeps their events."""
        kept = self._settings.inbox_retention
        names: set[tuple[str, str]] = set()
        for subscription in (each for group in self._groups for each in group.all):
            seconds = subscription.receiver.options.retry.longest()
            name = (subscription.group, subscription.name)
            if kept is None or seconds <= kept or name in names:
                continue
            names.add(name)
            telemetry.emit(
                catalogue.RetriesOutlastOutbox(
                    group=subscription.group, receiver=subscription.name, seconds=seconds, kept=kept
                )
            )

    @property
    def ready(self) -> bool:
        """Return whether this process takes part in each of its groups."""
        return bool(self.consumers) and all(consumer.ready for consumer in self.consumers)

    def states(self) -> list[Measurement]:
        """Return what this process holds now. May be called from another thread."""
        return [state for consumer in self.consumers for state in consumer.states()]

    @property
    def alive(self) -> bool:
        """Return whether every loop of the worker makes progress."""
        return super().alive and all(loop.alive for loop in self._loops)

    def _report_start(self, groups: Sequence[str]) -> None:
        # A receiver in a module that nobody imported is missing here, and nowhere else.
        subscriptions = [each for group in self._groups for each in group.all]
        for subscription in subscriptions:
            telemetry.emit(listed(subscription))
        receivers = sorted({subscription.name for subscription in subscriptions})
        telemetry.emit(catalogue.WorkerStarted(groups=groups, receivers=receivers))

    async def _stop_loops(self) -> None:
        """Let each group drain and give its partitions back, no matter how another group ends."""
        # Pruners are cancelled: a page that is not deleted now is deleted by the next pass.
        endings = (
            loop.abort() if isinstance(loop, InboxPruner) else loop.stop() for loop in self._loops
        )
        try:
            # An error that ends a loop was reported by the loop.
            await asyncio.gather(*endings, return_exceptions=True)
        except asyncio.CancelledError:
            # The time to stop is over: a group that is still draining must renew no lease.
            loops = (*self._loops, self._hooks)
            await asyncio.gather(*(loop.abort() for loop in loops), return_exceptions=True)
            raise

    async def _learn_names(self) -> None:
        """Take the names of receivers that operators have renamed.

        Raises:
            ConfigurationError: if the program has two receivers that a group knows as one.
        """
        # Once: a receiver must keep its name for as long as it runs.
        self._groups = [
            group.known_by(await self._broker.names(group.group)) for group in self._groups
        ]

    async def _prepare_inboxes(self) -> None:
        databases = {id(database): database for group in self._groups for database in group.inboxes}
        for database in databases.values():
            if isinstance(database, Database):
                await prepare(database, inbox.TABLES)

    def _tallies(self) -> list[Tallies]:
        if self._version is None:
            return []
        stats = {consumer.group: consumer.stats for consumer in self.consumers}
        return [Tallies(self._broker, stats, self._version)]

    def _pruners(self) -> list[InboxPruner]:
        """Return a pruner for every database in which a group has an inbox."""
        retention = self._settings.inbox_retention
        if retention is None:
            return []
        return [
            InboxPruner(self._broker, group.group, inbox.Positions(database), retention)
            for group in self._groups
            for database in group.inboxes
            if isinstance(database, Database)
        ]

    async def _until_available(self, requirement: _Requirement) -> bool:
        """Start a requirement, as often as needed; report an outage once.

        Returns:
            False if the worker was stopped meanwhile.

        Raises:
            ConfigurationError: for a mistake that no waiting mends.
        """
        away, pause = False, 0.0
        while not self.stopping.is_set():
            try:
                # A server that never answers keeps no worker from its end.
                if not await interruptible(requirement.start(), self.stopping):
                    return False
            except ConfigurationError:
                raise
            except requirement.outage as error:
                # Once: an outage may last for hours.
                if not away:
                    telemetry.emit(requirement.unavailable(part="worker", error=str(error)))
                away = True
                self._show_life()
                await self.pause(min(1.0, self._settings.backoff))
            except Exception as error:  # noqa: BLE001 - no program ends because of a broken key
                pause = next_pause(pause, 0.0)
                telemetry.emit(failure_of("the start of a worker", error, pause))
                self._show_life()
                await self.pause(pause)
            else:
                if away:
                    telemetry.emit(requirement.available(part="worker"))
                return True
        return False

    def _show_life(self) -> None:
        if self._alive is not None and self.alive:
            self._alive()
