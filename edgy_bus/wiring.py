"""Joins the concrete parts of a bus: a broker by its URL, an outbox for each source, and workers.

No other module of the library chooses an implementation.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.operations import Parts, Publisher
from edgy_bus.outbox import table as outbox_tables
from edgy_bus.outbox.announcer import Announcer
from edgy_bus.outbox.encoding import EventEncoder
from edgy_bus.outbox.notifier import Notifier
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.writer import OutboxWriter, Publishes
from edgy_bus.runtime import inbox
from edgy_bus.runtime.hooks import ErrorHook
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import Bell, Service
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signing import Signer
from edgy_bus.sources import Source
from edgy_bus.telemetry import catalogue

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")

_BROKERS: Mapping[str, Callable[[str, str], Broker]] = {
    "redis": RedisBroker,
    "rediss": RedisBroker,
    "unix": RedisBroker,
    "memory": lambda _url, _prefix: MemoryBroker(),
}


Names = Callable[[], Iterable[str]]
"""Returns the names of models, with the service."""


def make_broker(url: str, prefix: str) -> Broker:
    """Return the broker of a URL, whose keys begin with `prefix`. Nothing is connected yet.

    Raises:
        ConfigurationError: for a URL or a prefix that cannot be used.
    """
    if not isinstance(url, str):
        raise ConfigurationError(
            f"the url of a bus is text, not a {type(url).__name__}: write for example "
            'Bus("redis://localhost:6379/0", service="app")'
        )
    # The rest of the URL may contain a password, and stays out of the message.
    scheme = named[1] if (named := _SCHEME.match(url)) else ""
    if scheme not in _BROKERS:
        supported = ", ".join(f"{name}://" for name in _BROKERS)
        raise ConfigurationError(
            f"unknown broker scheme {scheme!r}: the supported schemes are {supported}; write for "
            "example redis://localhost:6379/0"
        )
    return _BROKERS[scheme](url, prefix)


def wire(
    url: str | None,
    prefix: str,
    service: str,
    events: EventSettings,
    relaying: RelaySettings,
    *,
    signing_keys: Mapping[str, str | bytes] | None,
) -> "Wiring | None":
    """Return the parts of a bus; None for local mode, where `url` is None.

    Raises:
        ConfigurationError: for a URL, a prefix or keys that cannot be used.
    """
    signer = None if signing_keys is None else Signer(signing_keys)
    if url is None:
        return None
    return Wiring(make_broker(url, prefix), service, events, relaying, signer)


def required(wiring: "Wiring | None", purpose: str) -> "Wiring":
    """Return the parts of a bus. Raises `ConfigurationError` in local mode, naming the purpose."""
    if wiring is None:
        raise ConfigurationError(
            f"this bus is in local mode, where {purpose} has nothing to do: "
            'give it a broker, Bus("redis://localhost:6379", …)'
        )
    return wiring


@dataclass(frozen=True, slots=True)
class OutboxParts:
    """The outbox of a source, and the loops that move its events."""

    publisher: Publisher
    relay: Relay
    notifier: Notifier


class Wiring:
    """The parts of a bus that has a broker.

    Args:
        broker: the broker, which the wiring closes after everything that uses the broker.
        service: the service of the sources' models.
        events: bounds of events, and the number of partitions.
        relaying: numbers of the relays.
        signer: signs events, and checks the signatures of events that workers read.
    """

    def __init__(
        self,
        broker: Broker,
        service: str,
        events: EventSettings,
        relaying: RelaySettings,
        signer: Signer | None,
    ) -> None:
        self.broker = broker
        self._attached: list[tuple[Source, Publishes, Names]] = []
        self._outboxes: list[OutboxParts] = []
        self._may_relay = True
        self._service = service
        self._events = events
        self._relaying = relaying
        self._signer = signer
        self._announcer = Announcer(broker, events, signer)
        self._is_attended = False
        """Whether the bus was started, or nobody has to: or the missing start is reported."""

    @property
    def parts(self) -> Parts:
        """Return the parts that operators work with."""
        publishers = tuple(outbox.publisher for outbox in self._outboxes)
        outboxes = tuple(publisher.store for publisher in publishers)
        return Parts(self.broker, self._service, outboxes, self._signer, publishers)

    def attach(self, source: Source, publishes: Publishes, names: Names) -> None:
        """Write the events of a source's models to an outbox, and add loops that publish.

        Args:
            source: the source.
            publishes: whether a signal of a model goes to the broker.
            names: returns the models of all sources of the bus.
        """
        _add_tables(source)
        self._attached.append((source, publishes, names))
        self._open_outbox(source, publishes, names)

    def _open_outbox(self, source: Source, publishes: Publishes, names: Names) -> None:
        store = OutboxStore(source.database, self._service)
        bell, notifier = Bell(), Notifier(source.database)

        # The bell wakes the relay of this process, the notifier the relays of other processes.
        def ring() -> None:
            self._require_attention()
            bell.ring()
            notifier.ring()

        encoder = EventEncoder(self._service, self._events)
        writer = OutboxWriter(
            store=store,
            encoder=encoder,
            publishes=publishes,
            announcer=self._announcer,
            ring=ring,
        )
        source.writer = writer
        relay = self._relay(store, bell, names)
        publisher = Publisher(source, store, writer, encoder)
        self._outboxes.append(OutboxParts(publisher, relay, notifier))

    def _require_attention(self) -> None:
        """Report, once, that events are written and that the bus was never started."""
        if self._is_attended:
            return
        self._is_attended = True
        # No running bus logs notices.
        stop_logging = log_telemetry()
        telemetry.emit(catalogue.OutboxUnattended(service=self._service))
        stop_logging()

    def _relay(self, store: OutboxStore, bell: Bell, names: Names) -> Relay:
        def models() -> Mapping[str, int]:
            # Of all sources: two of them may have the same database, and then the relay that leads
            # publishes the events of both. A function, because models are declared after their
            # source.
            return dict.fromkeys(names(), self._events.partitions)

        return Relay(
            store=store,
            broker=self.broker,
            models=models,
            settings=self._relaying,
            bell=bell,
            signer=self._signer,
        )

    async def start(self, stack: AsyncExitStack, *, relay: bool) -> list[Relay]:
        """Start the loops that publish, for as long as the stack is open; return the relays.

        Args:
            stack: stops the loops.
            relay: whether the relays run here.
        """
        self._is_attended = True
        # First on the stack, closed last: every loop may use the broker until its end.
        stack.push_async_callback(self.broker.close)
        for outbox in self._outboxes:
            await outbox.publisher.store.prepare()
            # Before the relay, so after the relay at the end: a ring is passed on until then.
            await _enter(stack, outbox.notifier)
            if relay and self._may_relay:
                await _enter(stack, outbox.relay)
        await _enter(stack, self._announcer)
        return [outbox.relay for outbox in self._outboxes] if relay and self._may_relay else []

    @contextmanager
    def substituted(
        self, broker: Broker, events: EventSettings, relaying: RelaySettings
    ) -> Iterator[None]:
        """Work with another broker inside of the block, and start no relay: for tests.

        The bus does not run at the beginning, nor at the end.

        Args:
            broker: the broker.
            events: bounds of events, and the number of partitions.
            relaying: numbers of the relays.
        """
        before = self.broker, self._events, self._relaying
        self._become(broker, events, relaying)
        self._may_relay = False
        try:
            yield
        finally:
            self._become(*before)
            self._may_relay = True

    def _become(self, broker: Broker, events: EventSettings, relaying: RelaySettings) -> None:
        """Make every part anew that holds the broker or the numbers."""
        self.broker, self._events, self._relaying = broker, events, relaying
        self._announcer = Announcer(broker, events, self._signer)
        self._outboxes = []
        for attached in self._attached:
            self._open_outbox(*attached)

    async def send_announcements(self) -> None:
        """Wait until the `pre_*` events that were announced so far are sent."""
        # A program that has stopped its bus announces nothing any more.
        if self._announcer.running:
            await self._announcer.stop()
            await self._announcer.start()

    @asynccontextmanager
    async def operating(self, databases: Iterable[Database]) -> AsyncIterator[Parts]:
        """Hold the connections to these databases and the broker, and start nothing."""
        self._is_attended = True
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.broker.close)
            await Connections().open(stack, databases)
            yield self.parts

    def relays(self) -> list[Relay]:
        """Return the relay of each outbox.

        Raises:
            ConfigurationError: if there is no outbox.
        """
        if not self._outboxes:
            raise ConfigurationError(
                "this bus has no registry, so there is no outbox to relay: "
                "Registry(database, bus=bus)"
            )
        return [outbox.relay for outbox in self._outboxes]

    def worker(
        self,
        groups: Sequence[Subscriptions],
        settings: WorkerSettings,
        alive: Callable[[], None] | None,
        hooks: Sequence[ErrorHook],
        version: str,
    ) -> Worker:
        """Return a worker of these groups, which logs notices while it runs."""
        if settings.inbox_retention is None:
            # Twice: a relay that stands still keeps rows that are older than its retention.
            retention = 2 * self._relaying.retention
            settings = settings.model_copy(update={"inbox_retention": retention})
        if settings.receiver_retention is None:
            retention = self._relaying.retention
            settings = settings.model_copy(update={"receiver_retention": retention})
        return LoggedWorker(
            self.broker, groups, settings, alive, self._signer, hooks=hooks, version=version
        )


class LoggedWorker(Worker):
    """A worker whose notices are logged, also where no bus runs in its process."""

    async def _guarded(self) -> None:
        # Around the whole task: the notice of an error that ends the worker is logged as well.
        stop_logging = log_telemetry()
        try:
            await super()._guarded()
        finally:
            stop_logging()


class Connections:
    """Connect databases for a bus, and disconnect those that the bus has connected."""

    def __init__(self) -> None:
        # A database outlasts an event loop. The bus that connected a database in a loop that was
        # closed before the bus could stop disconnects the database in a later loop.
        self._ours: set[Database] = set()

    async def open(self, stack: AsyncExitStack, databases: Iterable[Database]) -> None:
        """Connect the databases that are not connected yet, for as long as the stack is open."""
        for database in databases:
            if database.is_connected and database not in self._ours:
                continue
            self._ours.add(database)
            stack.push_async_callback(self._close, database)
            await database.connect()

    async def _close(self, database: Database) -> None:
        self._ours.discard(database)
        await database.disconnect()


async def _enter(stack: AsyncExitStack, service: Service) -> None:
    await service.start()
    stack.push_async_callback(service.stop)


def _add_tables(source: Source) -> None:
    # Part of the application's tables, so that migrations and `create_all` create these tables too.
    for table in (*outbox_tables.metadata.sorted_tables, inbox.inbox):
        # The classes of an ORM may be published to several buses, in tests for example.
        if table.key not in source.metadata.tables:
            table.to_metadata(source.metadata)
