"""The facade of the library: the object that services, workers and operators use."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, nullcontext
from typing import Self, Unpack

from edgy_bus import operations
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import check_name
from edgy_bus.lifecycle import Lifecycle
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.operations import HeldRow, Parts
from edgy_bus.origin import context
from edgy_bus.outbox.relay import Relay
from edgy_bus.receiver_modules import ReceiverModules
from edgy_bus.registration import Connect, Registration
from edgy_bus.runtime.hooks import ErrorHook
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signals import NameKeywords
from edgy_bus.signing import Signer
from edgy_bus.sources import Source
from edgy_bus.wiring import Connections, Wiring, make_broker

Hook = Callable[[], Awaitable[None]]


class Bus:
    """Takes the signals of models to receivers in any service.

    Args:
        url: the broker, `redis://host:6379/0`; `memory://` for a broker inside this process; None
            for local mode, in which every receiver runs in the process of the operation.
        service: the name of this service. Other services know its models as `service.Model`.
        group: the consumer group of receivers without a group; the service's name by default.
        prefix: begins every key at the broker.
        publish: which signals go to the broker, as patterns of `signal` or `Model.signal`
            (`"post_*"`, `"User.*"`); all by default. Receivers of other signals run in this
            process.
        receivers: modules that hold receivers. `start` and workers import them: a receiver in a
            module that nobody imports does not exist. A module that connects nothing is reported.
        relay: whether `start` also moves the outbox to the broker; False where a program of its own
            does (`edgy-bus relay`).
        signing_keys: names and secrets. With keys, every event is signed with the first key, and
            workers give up every event that is not signed with any of the keys.
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
        receivers: Iterable[str] = (),
        relay: bool = True,
        signing_keys: Mapping[str, str | bytes] | None = None,
        events: EventSettings | None = None,
        relaying: RelaySettings | None = None,
        working: WorkerSettings | None = None,
    ) -> None:
        self.service = check_name(service, "the service")
        self.group = check_name(group or service, "the group")
        self.events = events or EventSettings()
        self.relaying = relaying or RelaySettings()
        self.working = working or WorkerSettings()
        self.broker = None if url is None else make_broker(url, prefix)
        self._registration = Registration(self.service, self.group, publish, local=url is None)
        self._modules = ReceiverModules(receivers, self._registration.connected)
        self.registries = self._registration.sources
        signer = None if signing_keys is None else Signer(signing_keys)
        self._wiring: Wiring | None = None
        if self.broker is not None:
            self._wiring = Wiring(self.broker, service, self.events, self.relaying, signer)
        self._relay_here = relay
        self._hooks: list[Hook] = []
        self._error_hooks: list[ErrorHook] = []
        self._connections = Connections()
        self._lifecycle = Lifecycle(self._begin)

    def attach(self, source: Source) -> None:
        """Publish the operations of a source's models. `Registry(bus=…)` calls this method."""
        self._registration.add(source)
        if self._wiring is not None:
            names = self._registration.model_names
            self._wiring.attach(source, self._registration.publishes, names)

    def receiver(self, model: str, signal: str, **keywords: Unpack[NameKeywords]) -> Connect:
        """Subscribe by name: `@bus.receiver("accounts.User", "post_save")`.

        The class of the model need not be here. `instance` is made by `schema` from the row, or has
        the row's fields as attributes; `sender` is the model's name. `Options` has the keywords.

        Raises:
            SignalError: for a name that cannot belong to a model or a signal, or a wrong option.
        """
        return self._registration.by_name(model, signal, keywords)

    def import_receivers(self, *modules: str) -> None:
        """Import modules that hold receivers, as `Bus(receivers=…)` does at the start.

        Raises:
            ConfigurationError: naming the module that cannot be imported, and the error.
        """
        self._modules.add(modules)
        self._modules.load()

    def on_start(self, hook: Hook) -> Hook:
        """Await `hook()` in each service, worker and relay process, with connected databases."""
        self._hooks.append(hook)
        return hook

    def on_error(self, hook: ErrorHook) -> ErrorHook:
        """Call `hook(failed)` with each error of a receiver in a worker, in the background.

        `failed` is a `FailedCall`. The hook may be async; a hook that fails or hangs is reported.
        """
        if not callable(hook):
            raise ConfigurationError(f"on_error takes a function, not a {type(hook).__name__}")
        self._error_hooks.append(hook)
        return hook

    context = staticmethod(context)

    async def start(self) -> None:
        """Connect the databases, run the hooks, create missing outbox tables, and start the relay.

        Does nothing while the bus runs. Without an answer of the broker, events wait in the outbox.
        Raises `ConfigurationError` in a hook of this bus, and while it runs in another event loop.
        """
        await self._lifecycle.start()

    async def _begin(self, stack: AsyncExitStack, lasting: ExitStack) -> None:
        # Ends last, so that notices are logged until everything else has stopped.
        lasting.callback(log_telemetry())
        # First: a module may connect receivers with an inbox, or declare models.
        self._modules.load()
        self._modules.report()
        await self._connections.open(stack, self.databases())
        for hook in self._hooks:
            await hook()
        # After the hooks, which may import modules that declare signals.
        self._registration.complete()
        if self._wiring is not None:
            await self._wiring.start(stack, relay=self._relay_here)

    async def stop(self) -> None:
        """Undo `start`. Events that are not published yet stay in the outbox."""
        await self._lifecycle.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def worker(
        self,
        groups: Iterable[str] | None = None,
        settings: WorkerSettings | None = None,
        alive: Callable[[], None] | None = None,
    ) -> Worker:
        """Return a worker of these groups, or of every group that has receivers.

        The databases of inboxes must be connected before the worker starts. Raises
        `ConfigurationError` if the worker would have nothing to do.
        """
        wiring = self._require_wiring("a worker")
        self._modules.load()
        subscriptions = self._registration.groups(groups)
        return wiring.worker(subscriptions, settings or self.working, alive, self._error_hooks)

    def relays(self) -> list[Relay]:
        """Return the relays. Raises `ConfigurationError` if there is no outbox."""
        return self._require_wiring("a relay").relays()

    def databases(self) -> list[Database]:
        """Return the databases of the registries and of the receivers' inboxes."""
        return self._registration.databases()

    def subscriptions(self) -> list[Subscription]:
        """Return every receiver that runs in workers."""
        return self._registration.subscriptions()

    def operating(self, *, databases: bool = False) -> AbstractAsyncContextManager[Parts]:
        """Hold the connections that operators need, and nothing else; enter with the parts.

        Runs no hook and no relay, and creates no table. The broker connects at its first use;
        `databases` connects the publishers' databases as well, for `forget`.
        """
        wiring = self._require_wiring("an operator")
        # A running bus holds these connections, and closes them itself.
        if self._lifecycle.is_running:
            return nullcontext(wiring.parts)
        chosen = self._registration.publishing_databases() if databases else []
        return wiring.operating(chosen)

    async def held(self, group: str | None = None) -> list[HeldRow]:
        """Return the rows that receivers of a group hold (`on_exhausted="hold"`)."""
        wiring = self._require_wiring("a held row")
        return list((await operations.held(wiring.broker, group or self.group)).rows)

    async def release(self, row: HeldRow, *, skip: bool = False) -> bool:
        """Let workers handle a held row's parked events; False if the row waits for no decision."""
        wiring = self._require_wiring("a held row")
        return bool((await operations.release(wiring.broker, [row], skip=skip)).rows)

    async def forget(self, group: str) -> int:
        """Forget a group that does not come back; return how many models had the group.

        The databases must be connected: the bus runs, or `operating(databases=True)` is open.
        """
        parts = self._require_wiring("forgetting a group").parts
        return len((await operations.forget(parts, group)).models)

    def _require_wiring(self, purpose: str) -> Wiring:
        if self._wiring is None:
            raise ConfigurationError(
                f"this bus is in local mode, where {purpose} has nothing to do: "
                'give it a broker, Bus("redis://localhost:6379", …)'
            )
        return self._wiring
