"""The bus of an application inside of a test: the real relay and worker, run when the test says so.

Events are encoded, stored in the outbox, published and decoded as in production. The broker is in
memory. Nothing runs between two calls of the test: `drain` starts a worker, waits until everything
that is due is handled, and stops the worker.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy import delete

from edgy_bus.bus import Bus
from edgy_bus.codec import unpack
from edgy_bus.errors import ConfigurationError, DatabaseError, DrainFailed
from edgy_bus.events import Event
from edgy_bus.outbox import table as outbox_tables
from edgy_bus.reasons import describe as describe_error
from edgy_bus.runtime import inbox
from edgy_bus.signals import ReceiverFunction
from edgy_bus.signals.decorators import Connector
from edgy_bus.signals.naming import describe, identity
from edgy_bus.testing import chaos
from edgy_bus.testing.calls import Call, names
from edgy_bus.testing.making import Changes, EventMaker, Made
from edgy_bus.testing.runs import Runs
from edgy_bus.wiring import Connections

PATIENCE = 30.0
"""Seconds that the receivers of a drain may take, by the clock of the day."""

_EXACTNESS = 0.001
"""Seconds by which the sum of some waits may miss the time that a test lets pass."""

_SHOWN = 10
"""Events that an error lists."""

_IMPORT = (
    "A receiver exists once its module is imported: name the module in Bus(receivers=[…]), or "
    "import it in the test"
)
_EXPECTED = (
    "If the test expects that: drain(check=False), then look at bus.waiting, bus.dead and "
    "bus.calls(receiver). `await bus.advance(seconds)` lets time pass"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Describe an event that waits for the next call of a receiver.

    Attributes:
        receiver: the durable name of the receiver.
        event: the event.
        attempts: how many calls have failed.
        seconds: the time that has to pass until the next call.
        reason: why the call is repeated.
    """

    receiver: str
    event: Event
    attempts: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """Describe an event that a receiver has given up.

    Attributes:
        receiver: the durable name of the receiver.
        event: the event.
        attempts: how many calls have failed.
        reason: the reason, as the dead letter keeps it.
        held: whether the row waits for a decision (`on_exhausted="hold"`).
    """

    receiver: str
    event: Event
    attempts: int
    reason: str
    held: bool = False


class InlineBus:
    """Drive the bus of an application in a test; made by `inline`, and by pytest's fixture `bus`.

    Attributes:
        app: the application's bus.
        mode: the mode of chaos; "calm" without.
    """

    def __init__(self, app: Bus, mode: str = chaos.CALM) -> None:
        chaos.check_modes([mode])
        self.app = app
        self.mode = mode
        self._runs = Runs(app, mode)
        self._broker = self._runs.broker
        self._maker = EventMaker(app)

    # What the test does

    async def relay(self) -> None:
        """Publish what committed operations have left in the outbox; call no receiver."""
        self._refuse_transaction("relay")
        await self._runs.relay()

    async def drain(self, *, check: bool = True, patience: float = PATIENCE) -> None:
        """Publish, and let receivers handle every event that is due, also what they publish.

        Args:
            check: raise an error if calls fail, or if events wait or are given up at the end.
            patience: seconds of the day that the receivers may take.

        Raises:
            DrainFailed: for failed calls, of which the first is the cause; for events that wait
                for a retry or for the end of a snooze; for events that were given up; and for
                receivers that do not end.
            DatabaseError: inside of a transaction of the test, which no receiver could see.
        """
        with self._reporting("drain", check=check):
            await self._run(patience)

    async def advance(self, seconds: float, *, check: bool = True) -> None:
        """Let time pass, and drain at each moment at which a call is due, and at the end.

        The clock of the day does not change: only retries and snoozes see this time.

        Args:
            seconds: how much time passes.
            check: as for `drain`.
        """
        end = self._broker.passed + seconds
        with self._reporting("advance", check=check):
            # In steps: the wait after a call that fails begins at the moment of that call.
            while waits := [each.seconds for each in self.waiting if each.seconds]:
                if self._broker.passed + min(waits) > end + _EXACTNESS:
                    break
                self._broker.passed += min(waits)
                await self._run(PATIENCE)
            self._broker.passed = max(end, self._broker.passed)
            await self._run(PATIENCE)

    async def deliver(self, *events: Event, check: bool = True) -> None:
        """Let receivers handle events as if a service had published them, and drain.

        Args:
            events: events, for example made by `event`.
            check: as for `drain`.

        Raises:
            ConfigurationError: for an event that no receiver of the bus listens to.
        """
        subscriptions = self._runs.subscriptions
        # All events are checked before any is delivered. Nobody would handle such an event, and the
        # test would look for its effects in the wrong place.
        for event in events:
            if not any((each.model, each.signal) == event[2:4] for each in subscriptions):
                raise ConfigurationError(
                    f"deliver(): no receiver of this bus listens to {event.type}; its receivers "
                    f"are {names(subscriptions)}. {_IMPORT}"
                )
            await self._broker.deliver(event, self._runs.wiring.parts.signer)
        await self.drain(check=check)

    def event(
        self,
        signal: Connector | str,
        model: Made,
        row: Mapping[str, object] | None = None,
        /,
        *,
        changes: Changes | None = None,
        **context: str | float | bool,
    ) -> Event:
        """Return an event of a model, to `deliver`.

        Args:
            signal: `post_save`, or the name of a signal.
            model: an instance; a model class, of which an instance is made with defaults for what
                `row` lacks; or the name of a model of another service, `"accounts.User"`.
            row: the fields of the row, for a class or a name.
            changes: the old and new values of fields: `{"email": ("old@…", "new@…")}`.
            context: what `bus.context(…)` describes.

        Raises:
            ConfigurationError: for a model or a signal that does not exist.
        """
        return self._maker.event(signal, model, row, changes=changes, context=context)

    # What the test looks at

    def published(
        self, signal: Connector | str | None = None, model: type | str | None = None
    ) -> list[Event]:
        """Return the events that were published during this test, oldest first.

        Args:
            signal: events of this signal only, `post_save` or its name.
            model: events of this model only: the class, `"User"` or `"accounts.User"`.

        Raises:
            ConfigurationError: for a model or a signal that does not exist, and before `drain` or
                `relay` if the outbox has events that nobody has published.
        """
        # An empty list would look as if the operation had published nothing.
        if any(relay.bell.is_rung for relay in self._runs.relays()):
            raise ConfigurationError(
                "published(): operations have committed events since the last drain, which are "
                "still in the outbox: await bus.drain() first, or bus.relay() to call no receiver"
            )
        wanted, name = self._maker.chosen(signal, model)
        return [
            event
            for event in self._broker.published
            if (wanted is None or event.signal == wanted) and (name is None or event.model == name)
        ]

    def handled(self, receiver: ReceiverFunction | str) -> list[Event]:
        """Return the events that a receiver has handled, each once, however often it came.

        Args:
            receiver: the function, or its durable name.

        Raises:
            ConfigurationError: for a function that is no receiver of this bus.
        """
        # By id, because chaos delivers an event more than once.
        events = [event for call in self.calls(receiver) for event in call.handled()]
        return list({event.id: event for event in events}.values())

    def calls(self, receiver: ReceiverFunction | str) -> list[Call]:
        """Return every call of a receiver that has ended, repeated calls as well.

        Raises:
            ConfigurationError: as `handled`.
        """
        name = self._name_of(receiver)
        return [call for call in self._runs.calls.all if call.receiver == name]

    @property
    def waiting(self) -> list[Waiting]:
        """Return the events that wait for a retry, or for the end of a snooze.

        Later events of their rows wait behind them, and are not listed.
        """
        return [
            Waiting(
                turn.subscription.name,
                turn.envelope.open(),
                turn.note.attempts,
                turn.after,
                turn.note.reason,
            )
            for turn in self._runs.turns()
            if turn.note.due
        ]

    @property
    def dead(self) -> list[Dead]:
        """Return the events that receivers have given up: dead letters, and held rows."""
        return [
            Dead(
                letter.receiver, unpack(letter.fields).open(), letter.attempts, letter.reason, held
            )
            for letter, held in self._broker.given_up()
        ]

    async def _run(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience) as limit:
                await self._runs.handle_due()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DrainFailed(self._stuck(patience)) from None

    # Errors

    @contextmanager
    def _reporting(self, method: str, *, check: bool) -> Iterator[None]:
        """Raise an error at the end for what failed, waits or was given up inside of the block."""
        self._refuse_transaction(method)
        self._runs.failures.clear()
        # An event that was given up before has been reported before.
        before = {(each.receiver, each.event.id) for each in self.dead}
        yield
        if check:
            self._check(
                [each for each in self.dead if (each.receiver, each.event.id) not in before]
            )

    def _refuse_transaction(self, method: str) -> None:
        if any(database.in_transaction for database in self.app.databases()):
            raise DatabaseError(
                f"{method}() inside of a transaction of the test: its events are published when "
                f"it commits, and receivers would wait for it. Await bus.{method}() behind the "
                "`async with database.transaction()` block"
            )

    def _stuck(self, patience: float) -> str:
        if running := ", ".join(self._runs.cut_off):
            return (
                f"drain(): after {patience:g} s, these receivers still run: {running}. "
                "What do they wait for? Give them more time with drain(patience=…)"
            )
        turns = [
            f"{each.subscription.name} ({each.envelope.signal})" for each in self._runs.turns()
        ]
        return (
            f"drain(): no end after {patience:g} s; not handled: {', '.join(turns[:_SHOWN])}. A "
            "receiver whose own writes come back to it never ends; otherwise use drain(patience=…)"
        )

    def _check(self, dead: Sequence[Dead]) -> None:
        """Raise an error if anything failed, waits or was given up since the last drain."""
        failures, waiting = self._runs.failures, self.waiting
        lines = [
            f"  {each.receiver}: {each.event.type} of row {each.event.subject!r} was given up "
            f"after {each.attempts} calls: {each.reason}"
            for each in dead
        ]
        lines += [
            f"  {each.receiver}: {each.event.type} of row {each.event.subject!r} waits for "
            f"{each.seconds:g} s: {each.reason} ({each.attempts} calls have failed)"
            for each in waiting
        ]
        if not lines and not failures:
            return
        cause = failures[0].exception if failures else None
        lines = lines or [
            f"  {each.receiver}: {describe_error(each.exception)}" for each in failures
        ]
        raise DrainFailed(
            "\n".join(["drain(): not every event is handled:", *lines[:_SHOWN], _EXPECTED])
        ) from cause

    def _name_of(self, receiver: ReceiverFunction | str) -> str:
        subscriptions = self._runs.subscriptions
        for each in subscriptions:
            if receiver == each.name or identity(receiver) == each.receiver.key:
                return each.name
        name = receiver if isinstance(receiver, str) else describe(receiver)
        if any(name == local.name for local in self._maker.local_receivers()):
            raise ConfigurationError(
                f"{name} runs in the process of the operation, before or with the operation "
                "itself, and not in a worker: look at what it does after the operation"
            )
        raise ConfigurationError(
            f"{name} is no receiver of this bus; its receivers are {names(subscriptions)}. "
            f"{_IMPORT}"
        )


@asynccontextmanager
async def inline(
    app: Bus, *, mode: str = chaos.CALM, rollback: bool = True
) -> AsyncIterator[InlineBus]:
    """Run the bus of an application inside of a test.

    Connects the databases, creates missing tables, runs the hooks of `on_start`, and rolls the
    databases back at the end.

    Args:
        app: the bus. It must not run.
        mode: a mode of chaos: "twice", "late", "crash" or "batches".
        rollback: whether the databases are rolled back. Otherwise every row stays, and the rows
            that earlier tests have left in the tables of the bus are deleted for good.

    Raises:
        ConfigurationError: for a bus in local mode, for a bus that runs, and for a rollback of a
            source that writes on connections of its own, as sessions of SQLAlchemy do.
    """
    if app.lifecycle.is_running:
        raise ConfigurationError(
            "the bus runs already: let the fixture start it, and not the module or another fixture"
        )
    bus = InlineBus(app, mode)
    app.import_receivers()
    async with AsyncExitStack() as stack:
        stack.enter_context(bus._runs.substituted())
        # Before the start of the bus, whose own tables are rolled back as well.
        await Connections().open(stack, app.databases())
        if rollback:
            await roll_back(stack, app)
        for source in app.registries:
            await source.database.create_tables(source.metadata)
        # Also after a start that failed half-way.
        stack.push_async_callback(app.stop)
        await app.start()
        await _forget_earlier_tests(app)
        await bus._runs.declare()
        yield bus


async def roll_back(stack: AsyncExitStack, app: Bus) -> None:
    """Roll the databases of a bus back when `stack` ends, unless that is arranged already.

    Raises:
        ConfigurationError: for a source whose rows would stay.
    """
    if any(source.connects_itself for source in app.registries):
        raise ConfigurationError(
            "a source of this bus (SQLAlchemy, Edgy) writes on connections of its own, whose rows "
            "cannot be rolled back: write edgy_bus_rollback = false in the options of pytest, or "
            "inline(bus, rollback=False), and give the tests a database of their own"
        )
    for database in app.databases():
        if not database.is_rolled_back:
            await stack.enter_async_context(database.rolled_back())


async def _forget_earlier_tests(app: Bus) -> None:
    """Delete what is left of events: to the broker of this test, they would look like a loss."""
    for source in app.registries:
        for table in (*outbox_tables.metadata.sorted_tables, inbox.inbox):
            if table is not outbox_tables.meta:
                await source.database.run(delete(table))
