"""The facade: the only place that wires concrete parts together."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel

from edgy_bus.brokers.base import Broker, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.events import Partition, check_name, partition_name, partitions_of
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.outbox import table as outbox_tables
from edgy_bus.outbox.announcer import Announcer
from edgy_bus.outbox.encoding import EventEncoder
from edgy_bus.outbox.notifier import Notifier
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.writer import OutboxWriter
from edgy_bus.retry import Retry
from edgy_bus.runtime import inbox
from edgy_bus.runtime.subscriptions import Snapshot, Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import Bell, Service
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signals import Batch, Inbox, OnExhausted, Options, Receiver, ReceiverFunction
from edgy_bus.signals.receiver import check
from edgy_bus.signing import Signer
from edgy_bus.sources import Source, SourceModel

F = TypeVar("F", bound=ReceiverFunction)
Hook = Callable[[], Awaitable[None]]

_BROKERS: Mapping[str, Callable[[str, str], Broker]] = {
    "redis": RedisBroker,
    "rediss": RedisBroker,
    "unix": RedisBroker,
    "memory": lambda _url, _prefix: MemoryBroker(),
}


@dataclass(frozen=True)
class _Publisher:
    """What publishes one source: its outbox, and what moves it."""

    source: Source
    store: OutboxStore
    relay: Relay
    notifier: Notifier


@dataclass(frozen=True)
class _Named:
    """A receiver that subscribed by the model's name."""

    model: str
    signal: str
    receiver: Receiver


class HeldRow(NamedTuple):
    """A row that a receiver holds, and why. `released`: its parked events are being handled."""

    group: str
    model: str
    subject: str
    receiver: str
    reason: str
    released: bool = False


class Bus:
    """Takes the signals of models to receivers in any service.

    Args:
        url: the broker, `redis://host:6379/0`; `memory://` for one inside this process; None for local mode, in which every
            receiver runs in the process of the operation.
        service: the name of this service. Its models are known to others as `service.Model`.
        group: the consumer group of receivers that name none; the service's name when not given.
        prefix: begins every key at the broker.
        publish: which signals go to the broker, as patterns of `signal` or `Model.signal` (`"post_*"`, `"User.*"`); all by
            default. Receivers of a signal that does not go there run in this process.
        relay: whether `start` also moves the outbox to the broker; False where a program of its own does (`edgy-bus relay`).
        signing_keys: names and secrets. With them, every event is signed with the first, and workers take only events that are signed
            with one of them; others go to the dead letters.
        events, relaying, working: numbers that may be tuned.

    Raises:
        ConfigurationError: for a name or a URL that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        service: str = "app",
        group: str | None = None,
        prefix: str = "edgy",
        publish: Iterable[str] | None = None,
        relay: bool = True,
        signing_keys: Mapping[str, str | bytes] | None = None,
        events: EventSettings | None = None,
        relaying: RelaySettings | None = None,
        working: WorkerSettings | None = None,
    ) -> None:
        self.service = check_name(service, "the service")
        self.group = check_name(group or service, "the group")
        self.broker = None if url is None else _broker(url, prefix)
        self.events = events or EventSettings()
        self.relaying = relaying or RelaySettings()
        self.working = working or WorkerSettings()
        self.registries: list[Source] = []
        self._patterns = (
            None if publish is None else tuple([publish] if isinstance(publish, str) else publish)
        )
        self._relay_here = relay
        self._named: list[_Named] = []
        self._hooks: list[Hook] = []
        self._publishers: list[_Publisher] = []
        self._signer = None if signing_keys is None else Signer(signing_keys)
        self._announcer = None if self.broker is None else Announcer(self.broker, self._signer)
        self._running: AsyncExitStack | None = None

    def attach(self, registry: Source) -> None:
        """Take the signals of a source to this bus. `Registry(bus=…)` calls this method."""
        self.registries.append(registry)
        registry.on_described(self._connect_named)
        if self.broker is None or self._announcer is None:
            return
        for table in (*outbox_tables.metadata.sorted_tables, inbox.inbox):
            table.to_metadata(registry.metadata)
        store, bell, notifier = OutboxStore(registry.database), Bell(), Notifier(registry.database)

        def ring() -> None:
            bell.ring()
            notifier.ring()

        registry.writer = OutboxWriter(
            store=store,
            encoder=EventEncoder(self.service, self.events),
            publishes=self._publishes,
            announcer=self._announcer,
            ring=ring,
        )
        relay = Relay(
            store=store,
            broker=self.broker,
            service=self.service,
            models=lambda: {
                self._name(model): self.events.partitions for model in registry.described()
            },
            settings=self.relaying,
            bell=bell,
            signer=self._signer,
        )
        self._publishers.append(_Publisher(registry, store, relay, notifier))

    def receiver(
        self,
        model: str,
        signal: str,
        *,
        schema: type[BaseModel] | None = None,
        name: str | None = None,
        group: str | None = None,
        when_changed: Iterable[str] = (),
        where: Callable[[Any], bool] | None = None,
        ordered: bool = True,
        retry: Retry | None = None,
        on_exhausted: OnExhausted = "dead_letter",
        deadline: float | None = None,
        inbox: Inbox | None = None,
        batch: Batch | None = None,
    ) -> Callable[[F], F]:
        """Subscribe by name: `@bus.receiver("accounts.User", "post_save")`.

        The class of the model need not be here. `instance` is what `schema` makes of the row, or an object with the row's fields
        as attributes; `sender` is the model's name. The other keywords are those of `signals.Options`.
        """
        service, _, rest = model.partition(".")
        if not rest or not service:
            raise SignalError(
                f'{model!r} does not name a model: write "service.Model", for example "{self.service}.User"'
            )
        if "." in signal or not signal:
            raise SignalError(f'{signal!r} does not name a signal: write for example "post_save"')
        options = Options(
            name=name,
            group=group,
            when_changed=when_changed,
            where=where,
            ordered=ordered,
            retry=retry or Retry(),
            on_exhausted=on_exhausted,
            deadline=deadline,
            inbox=inbox,
            batch=batch,
            schema=schema,
        )

        def connect(function: F) -> F:
            named = _Named(model, signal, Receiver(check(function), options))
            self._named.append(named)
            for registry in self.registries:
                for one in registry.described():
                    self._connect_named(one)
            return function

        return connect

    # Running

    def on_start(self, hook: Hook) -> Hook:
        """Await `hook()` in every process of the bus, service or worker, once its databases are connected."""
        self._hooks.append(hook)
        return hook

    async def start(self) -> None:
        """Connect the databases, run the hooks, create the outbox where it is missing, and start the relay.

        A broker that does not answer keeps nothing from starting: events wait in the outbox. Does nothing when running.
        """
        if self._running is not None:
            return
        async with AsyncExitStack() as stack:
            stack.callback(log_telemetry())
            for database in self.databases():
                if not database.is_connected:
                    await stack.enter_async_context(database)
            for hook in self._hooks:
                await hook()
            if self.broker is not None:
                stack.push_async_callback(
                    self.broker.close
                )  # after everything that uses it has stopped
            for publisher in self._publishers:
                await publisher.store.prepare()
                await self._enter(stack, publisher.notifier)
                if self._relay_here:
                    await self._enter(stack, publisher.relay)
            if self._announcer is not None:
                await self._enter(stack, self._announcer)
            self._running = stack.pop_all()

    async def stop(self) -> None:
        """Stop the relay and disconnect what `start` connected. What is not published stays in the outbox."""
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def worker(
        self,
        groups: Iterable[str] | None = None,
        settings: WorkerSettings | None = None,
        alive: Callable[[], None] | None = None,
    ) -> Worker:
        """A worker for these groups, or for all that have receivers. Its databases must be connected before it starts.

        Raises `ConfigurationError` where there is nothing for it to do.
        """
        broker = self._require_broker("a worker")
        every = self.subscriptions()
        names = list(groups) if groups is not None else sorted({one.group for one in every})
        known = sorted({one.group for one in every})
        for name in names:
            if name not in known:
                raise ConfigurationError(
                    f"no receiver runs in group {name!r}; the groups are: {', '.join(known) or 'none'}"
                )
        return Worker(
            broker,
            [Subscriptions(name, every) for name in names],
            settings or self.working,
            alive,
            self._signer,
        )

    async def forget(self, group: str) -> int:
        """Forget a group of receivers that is gone for good, so that streams of this service no longer wait for it to read them.

        Its dead letters stay. Answers from how many models it was removed. The bus must be running. Raises `ConfigurationError`
        while workers of the group are alive.
        """
        broker = self._require_broker("forgetting a group")
        alive = (await broker.members(group)).alive
        if alive:
            raise ConfigurationError(
                f"the group {group!r} has {len(alive)} workers that are alive: stop them first"
            )
        found = 0
        for publisher in self._publishers:
            for model in publisher.source.described():
                for partition in partitions_of(self._name(model), self.events.partitions):
                    await broker.forget(partition, group)
            # Last: a relay that trims meanwhile notes every group that it still sees at the broker.
            found += await publisher.store.forget_group(group)
        return found

    async def held(self, group: str | None = None) -> list[HeldRow]:
        """The rows that receivers of a group hold (`on_exhausted="hold"`); the group is the bus's own if it is not given."""
        broker, group = self._require_broker("a held row"), group or self.group
        found = []
        for model, partitions in (await broker.declared()).items():
            for partition in partitions_of(model, partitions):
                for row, state in (await broker.held(partition, group)).items():
                    parked = await broker.parked(partition, group, row)
                    reason = parked[0].letter.reason if parked else ""
                    found.append(
                        HeldRow(group, model, row.subject, row.receiver, reason, state.retrying)
                    )
        return found

    async def release(self, row: HeldRow, *, skip: bool = False) -> bool:
        """Let a worker handle the parked events of a held row, in order, and then hold it no more.

        With `skip`, its first one, for which the row is held, goes to the dead letters. False if the row is not held, or is being handled.
        """
        broker = self._require_broker("a held row")
        partitions = (await broker.declared()).get(row.model, self.events.partitions)
        partition = Partition(row.model, partition_name(row.subject, "", partitions))
        return await broker.decide(
            partition, row.group, RowKey(row.receiver, row.subject), skip=skip
        )

    def relays(self) -> list[Relay]:
        """The relays of this service, for a program that does nothing else. Raises `ConfigurationError` where there is none."""
        self._require_broker("a relay")
        if not self._publishers:
            raise ConfigurationError(
                "this bus has no registry, so there is no outbox to relay: Registry(database, bus=bus)"
            )
        return [publisher.relay for publisher in self._publishers]

    def databases(self) -> list[Database]:
        """The databases of the registries and of the receivers' inboxes."""
        inboxes = [one.receiver.options.inbox for one in self.subscriptions()]
        return list(
            dict.fromkeys(
                [*self._databases(), *(one for one in inboxes if isinstance(one, Database))]
            )
        )

    def subscriptions(self) -> list[Subscription]:
        """Every receiver that runs in workers."""
        if self.broker is None:
            return []
        found = [self._by_name(named) for named in self._named]
        for registry in self.registries:
            for model in registry.described():
                for signal in model.signals:
                    if self._publishes(model, signal.name):
                        found += [
                            self._by_class(model, signal.name, one)
                            for one in signal.receivers
                            if not one.options.local
                        ]
        return found

    def _by_class(self, model: SourceModel, signal: str, receiver: Receiver) -> Subscription:
        group = check_name(receiver.options.group or self.group, "the group")
        return Subscription(
            group=group,
            model=self._name(model),
            signal=signal,
            receiver=receiver,
            sender=model.sender,
            read=lambda row: None if row is None else model.read(row),
        )

    def _by_name(self, named: _Named) -> Subscription:
        schema = named.receiver.options.schema

        def read(row: Mapping[str, Any] | None) -> Any:
            if row is None:
                return None
            return Snapshot(row) if schema is None else schema.model_validate(row)

        group = check_name(named.receiver.options.group or self.group, "the group")
        return Subscription(
            group=group,
            model=named.model,
            signal=named.signal,
            receiver=named.receiver,
            sender=named.model,
            read=read,
        )

    def _connect_named(self, model: SourceModel) -> None:
        """In local mode, a receiver that subscribed by name hears of the model of that name here."""
        if self.broker is not None:
            return
        for named in self._named:
            if named.model == self._name(model) and named.signal in model.signals:
                model.signals[named.signal].connect(named.receiver.function, named.receiver.options)

    def _publishes(self, model: SourceModel, signal: str) -> bool:
        if model.publish is not None:
            return any(fnmatchcase(signal, one) for one in model.publish)
        if self._patterns is None:
            return True
        return any(
            fnmatchcase(signal, one) or fnmatchcase(f"{model.name}.{signal}", one)
            for one in self._patterns
        )

    def _name(self, model: SourceModel) -> str:
        return f"{self.service}.{model.name}"

    def _databases(self) -> list[Database]:
        return list(dict.fromkeys(registry.database for registry in self.registries))

    def _require_broker(self, what: str) -> Broker:
        if self.broker is None:
            raise ConfigurationError(
                f'this bus is in local mode, where {what} has nothing to do: give it a broker, Bus("redis://localhost:6379", …)'
            )
        return self.broker

    async def _enter(self, stack: AsyncExitStack, service: Service) -> None:
        await service.start()
        stack.push_async_callback(service.stop)


def _broker(url: str, prefix: str) -> Broker:
    scheme = urlsplit(url).scheme
    if scheme not in _BROKERS:
        known = ", ".join(f"{name}://" for name in _BROKERS)
        raise ConfigurationError(
            f"unknown broker scheme {scheme!r}: the supported ones are {known}"
        )
    return _BROKERS[scheme](url, prefix)
