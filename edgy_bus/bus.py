"""The facade of the library: the object that services, workers and operators use."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, nullcontext

from edgy_bus import operations
from edgy_bus.database import Database
from edgy_bus.environment import version_of
from edgy_bus.events import check_name
from edgy_bus.http import ServiceView
from edgy_bus.lifecycle import Hook, Lifecycle, check_start, run_hook
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.operations import HeldRow, Parts
from edgy_bus.origin import context
from edgy_bus.outbox.relay import Relay
from edgy_bus.receiver_modules import ReceiverModules
from edgy_bus.registration import Registration, Subscribing
from edgy_bus.runtime.hooks import ErrorHook, check_hook
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import Startable
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings, flag
from edgy_bus.sources import Source
from edgy_bus.wiring import Connections, required, wire


class Bus(Subscribing, Startable):
    """Takes the signals of models to receivers in any service.

    Args:
        url: the broker, `redis://host:6379/0`; `memory://` for a broker inside this process; None
            for local mode, in which every receiver runs in the process of the operation.
        service: the name of this service. Other services know its models as `service.Model`.
        group: the consumer group of receivers without a group; the service's name by default.
        prefix: begins every key at the broker.
        publish: the signals that go to the broker, as patterns of `signal` or `Model.signal`
            (`"post_*"`, `"User.*"`); all by default. Other signals stay in this process.
        receivers: modules that hold receivers. `start` and workers import them: a receiver in a
            module that nobody imports does not exist. A module that connects nothing is reported.
        relay: whether `start` also moves the outbox to the broker, beside any `edgy-bus relay`.
        signing_keys: names and secrets. The first key signs every event; workers accept any of the
            keys, and put all other events into the dead letters.
        http: `[HOST:]PORT` where a running bus shows metrics and health (extra `edgy_bus[http]`).
        version: of the program, for charts; by default the variable EDGY_BUS_VERSION.
        events: numbers of events that may be tuned.
        relaying: numbers of relays.
        working: numbers of workers.

    Raises `ConfigurationError` for a name or a URL that cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        service: str = "app",
        group: str | None = None,
        prefix: str = "edgy",
        publish: Iterable[str] | None = None,
        receivers: Iterable[str] = (),
        relay: bool = True,
        signing_keys: Mapping[str, str | bytes] | None = None,
        http: str | int | None = None,
        version: str | None = None,
        events: EventSettings | None = None,
        relaying: RelaySettings | None = None,
        working: WorkerSettings | None = None,
    ) -> None:
        self.service, self.prefix = check_name(service, "the service"), prefix
        self.version = version_of(version)
        self.group = check_name(group or service, "the group")
        self.events = events = EventSettings.given(events, "events")
        self.relaying = relaying = RelaySettings.given(relaying, "relaying")
        self.working = WorkerSettings.given(working, "working")
        self.wiring = wire(url, prefix, service, events, relaying, signing_keys=signing_keys)
        self.broker = None if self.wiring is None else self.wiring.broker
        self.view = ServiceView(http)
        self._registration = Registration(self.service, self.group, publish, local=url is None)
        self._modules = ReceiverModules(receivers, self._registration.connected)
        self.registries = self._registration.sources
        self._relay_here = flag(relay, "relay")
        self._hooks: list[Hook] = []
        self.on_errors: list[ErrorHook] = []
        self._connections = Connections()
        self.lifecycle = Lifecycle(self._begin)

    def attach(self, source: Source) -> None:
        """Publish the operations of a source's models. `Registry(bus=…)` calls this method."""
        self._registration.add(source)
        if self.wiring is not None:
            names = self._registration.model_names
            self.wiring.attach(source, self._registration.publication.includes, names)

    def import_receivers(self, *modules: str) -> None:
        """Import modules that hold receivers. Raises `ConfigurationError` with what is wrong."""
        self._modules.add(modules)
        self._modules.load()

    def on_start(self, hook: Hook) -> Hook:
        """Await `hook()` in each service, worker and relay process, with connected databases."""
        self._hooks.append(check_start(hook))
        return hook

    def on_error(self, hook: ErrorHook) -> ErrorHook:
        """Call `hook` with each `FailedCall` of a receiver in a worker, in the background."""
        self.on_errors.append(check_hook(hook))
        return hook

    context = staticmethod(context)

    async def start(self) -> None:
        """Connect the databases, run the hooks, create missing outbox tables, and start the relay.

        Does nothing while the bus runs. The broker may be away. Raises `ConfigurationError` in a
        hook of this bus, and while the bus runs in another event loop.
        """
        await self.lifecycle.start()

    async def _begin(self, stack: AsyncExitStack, lasting: ExitStack) -> None:
        # Ends last, so that notices are logged until everything else has stopped.
        lasting.callback(log_telemetry())
        await self.view.open(stack)
        # First: a module may connect receivers with an inbox, or declare models.
        self._modules.load()
        self._modules.report()
        await self._connections.open(stack, self.databases())
        for hook in self._hooks:
            await run_hook(hook)
        # After the hooks, which may import modules that declare signals.
        self._registration.complete()
        relays = await self.wiring.start(stack, relay=self._relay_here) if self.wiring else []
        await self.view.attach(stack, self.wiring.parts if self.wiring else None, relays)

    async def stop(self) -> None:
        """Undo `start`. Events that are not published yet stay in the outbox."""
        await self.lifecycle.stop()

    def worker(
        self,
        groups: Iterable[str] | None = None,
        settings: WorkerSettings | None = None,
        alive: Callable[[], None] | None = None,
    ) -> Worker:
        """Return a worker of these groups, or of every group that has receivers.

        The databases of inboxes must be connected. Raises `ConfigurationError` without receivers.
        """
        wiring = required(self.wiring, "a worker")
        self._modules.load()
        chosen = self._registration.groups(groups)
        return wiring.worker(chosen, settings or self.working, alive, self.on_errors, self.version)

    def relays(self) -> list[Relay]:
        """Return the relays. Raises `ConfigurationError` if there is no outbox."""
        return required(self.wiring, "a relay").relays()

    def databases(self) -> list[Database]:
        """Return the databases of the registries and of the receivers' inboxes."""
        return self._registration.databases()

    def subscriptions(self) -> list[Subscription]:
        """Return every receiver that runs in workers."""
        return self._registration.subscriptions()

    def operating(self, *, databases: bool = False) -> AbstractAsyncContextManager[Parts]:
        """Hold the connections that operators need, and nothing else; enter with the parts.

        Runs no hook and no relay, and creates no table. The broker connects at its first use;
        `databases` connects the publishers' databases as well, for `group forget`.
        """
        wiring = required(self.wiring, "an operator")
        chosen = self._registration.publishing_databases() if databases else []
        # A running bus holds these connections, and closes them itself.
        return nullcontext(wiring.parts) if self.lifecycle.is_running else wiring.operating(chosen)

    async def held(self, group: str | None = None) -> list[HeldRow]:
        """Return the rows that receivers of a group hold (`on_exhausted="hold"`)."""
        broker = required(self.wiring, "a held row").broker
        return list((await operations.held(broker, group or self.group)).rows)

    async def release(self, row: HeldRow, *, skip: bool = False) -> bool:
        """Let workers handle a held row's parked events; False if the row waits for no decision."""
        broker = required(self.wiring, "a held row").broker
        return bool((await operations.release(broker, [row], skip=skip)).rows)

    async def forget(self, group: str) -> int:
        """Forget a group that does not come back; return how many models had the group.

        The databases must be connected: the bus runs, or `operating(databases=True)` is open.
        """
        parts = required(self.wiring, "forgetting a group").parts
        return len((await operations.forget(parts, group)).models)
