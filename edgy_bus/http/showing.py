"""Gather the contents of a server: numbers of this process, and views that ask the broker.

The thread of the server reads the numbers. Views run in the event loop of the program, where
connections belong, and are remembered for a moment: many requests must not become many surveys.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Generic, TypeVar

from edgy_bus.errors import DatabaseUnavailable, EdgyBusError
from edgy_bus.health import Pulse
from edgy_bus.observability.metrics import Key, Ledger, Number, Series, merged, series_of
from edgy_bus.operations import GroupStatus, Parts, Status, status
from edgy_bus.telemetry import Measurement, measurements

T = TypeVar("T")

_FRESH = 2.0
"""Seconds for which a view is shown again."""

PATIENCE = 5.0
"""Seconds for a view: less than the limits of Prometheus, KEDA and probes."""


class NotYet(EdgyBusError):
    """Report a view that cannot be shown now; a later request may succeed."""


class Showing:
    """Hold everything that a program shows.

    Args:
        pulse: the progress of the program.

    Attributes:
        parts: the broker, and outboxes whose databases are connected; None until the program has
            started, and for a program without a broker.
        groups: whether the metrics include the state of all groups, and of the outboxes.
        states: returns the state of the program, for example its leases; called in another thread.
        children: returns the series of other processes; called in another thread.
    """

    def __init__(self, pulse: Pulse, *, groups: bool) -> None:
        self.pulse = pulse
        self.groups = groups
        self.parts: Parts | None = None
        self.states: Callable[[], Iterable[Measurement]] = tuple
        self.children: Callable[[], Iterable[Series]] = tuple
        self._ledger = Ledger()
        self._status = _Remembered(self._look)
        self._lag = _Remembered(self._look_at_groups)
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Count nothing any more."""
        self._ledger.close()

    def attach(self, parts: Parts, stack: AsyncExitStack) -> None:
        """Ask these parts until the stack is closed: a view must not open a connection again."""
        self.parts = parts
        stack.callback(self._detach)

    def _detach(self) -> None:
        self.parts = None

    def numbers(self) -> Series:
        """Return the series of this process and of its children."""
        pulse = self.pulse
        states = [
            measurements.ProgramState(age=pulse.age),
            measurements.ProgramReadiness(ready=int(pulse.is_ready)),
            *self.states(),
        ]
        # Gauges are never kept: a group that is gone is not shown.
        return merged([self._ledger.series(), *self.children(), *map(series_of, states)])

    async def standing(self) -> Series:
        """Return the state of all groups and outboxes; empty if the program does not show them.

        Raises:
            EdgyBusError: if broker or database cannot be asked.
        """
        if not self.groups or self.parts is None:
            return {}
        series: dict[Key, Number] = {}
        for state in _states(await self._within(self._status.get())):
            # Not added: two registries of one database have the same outbox.
            series.update(series_of(state))
        return series

    async def lag(self) -> Sequence[GroupStatus]:
        """Return how far all groups are.

        Raises:
            EdgyBusError: if the broker cannot be asked.
        """
        return (await self._within(self._lag.get())).groups

    async def _look(self) -> Status:
        parts = self._parts()
        try:
            return await status(parts)
        except DatabaseUnavailable as error:
            # The relay reports the outage; the groups are known all the same.
            return await status(Parts(parts.broker, parts.service), str(error))

    async def _look_at_groups(self) -> Status:
        parts = self._parts()
        # Without the outboxes: an autoscaler must know the lag also while a database is away.
        return await status(Parts(parts.broker, parts.service))

    def _parts(self) -> Parts:
        if self.parts is None:
            raise NotYet("the program has not started yet, or has no broker")
        return self.parts

    async def _within(self, work: Awaitable[T]) -> T:
        """Do the work in the event loop of the program, for a bounded time."""

        async def run() -> T:
            return await work

        # The requests of a client that has gone away are cancelled with their task there.
        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise NotYet(f"the program did not answer within {PATIENCE:g} s") from None


class _Remembered(Generic[T]):
    """Look once for all requests of the same moment, and for the requests that follow soon."""

    def __init__(self, look: Callable[[], Awaitable[T]]) -> None:
        self._look = look
        self._turn = asyncio.Lock()
        self._seen: tuple[float, T] | None = None

    async def get(self) -> T:
        async with self._turn:
            if self._seen is None or time.monotonic() - self._seen[0] > _FRESH:
                # An old view would look like news while no new view can be had.
                self._seen = None
                self._seen = time.monotonic(), await self._look()
            return self._seen[1]


def _states(view: Status) -> Iterable[Measurement]:
    for group in view.groups:
        name = group.name
        yield measurements.GroupLag(group=name, count=group.lag)
        yield measurements.GroupLagAge(group=name, seconds=group.seconds)
        yield measurements.GroupDeadLetters(group=name, count=group.dead)
        yield measurements.GroupHeldRows(group=name, count=group.held)
        yield measurements.GroupWorkers(group=name, count=len(group.workers))
    for outbox in view.outboxes:
        if outbox.pending is not None:
            database = outbox.database
            yield measurements.OutboxPending(database=database, count=outbox.pending)
            yield measurements.OutboxAge(database=database, seconds=outbox.seconds or 0.0)
