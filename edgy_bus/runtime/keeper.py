"""Keep the leases of a process while a receiver blocks its event loop, and report the receiver.

Another worker takes a partition when the lease runs out. A receiver that blocks the event loop
would let all leases of its process run out, and its calls would be repeated while they still run.
So leases are renewed beside the loop: by a thread that has an event loop and connections of its
own. A broker that serves a single event loop (in memory) has a task instead, and cannot do that.

The keeper asks the event loop of the receivers for an answer at every look. It stops renewing when
the loop has not answered for `WorkerSettings(max_blocked=…)`: a process that hangs for ever must
lose its partitions. Under a supervisor, it ends the process then.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import TracebackType
from typing import Self

from edgy_bus.brokers.base import Broker
from edgy_bus.environment import FOLLOW_STDIN
from edgy_bus.errors import BrokerError
from edgy_bus.runtime.blocking import Stand, stand_of
from edgy_bus.runtime.hosts import InTask, InThread
from edgy_bus.runtime.keeping import (
    Blocked,
    EndProcess,
    Freed,
    GivenUp,
    Limits,
    LoopWatch,
    Sight,
    StoodStill,
    is_due,
    look,
)
from edgy_bus.runtime.leases import LeaseRenewal, Membership
from edgy_bus.services import failure_of, happens
from edgy_bus.settings import WorkerSettings
from edgy_bus.telemetry import catalogue

_HUNG = 70
"""The exit status of a process that the keeper ends."""

_CLOSING = 2.0
"""Seconds to close the keeper's connections."""


class Keeper:
    """Renew leases and memberships, and watch over the event loop that started the keeper.

    Use the keeper in an `async with` statement. When the statement has ended, no code of the keeper
    runs any more.

    Args:
        broker: renews leases.
        settings: the numbers of the worker.
        supervised: whether the process ends after `max_blocked`; None asks the environment.
    """

    def __init__(
        self, broker: Broker, settings: WorkerSettings, supervised: bool | None = None
    ) -> None:
        if supervised is None:
            supervised = bool(os.environ.get(FOLLOW_STDIN))
        self._broker = broker
        self._limits = Limits(settings.lease, settings.max_blocked, supervised)
        self._beside = broker.capabilities.serves_many_loops
        self._host = InThread() if self._beside else InTask()
        self._renewal = LeaseRenewal(broker, self._limits, self._wake, self._host.report)
        self._answered = True
        self._stand: Stand | None = None
        """Where the loop was blocked, while it is."""

    @contextmanager
    def keeping(self, membership: Membership) -> Iterator[None]:
        """Renew the leases and the membership of a consumer inside a `with` statement."""
        self._renewal.keep(membership)
        try:
            yield
        finally:
            self._renewal.drop(membership)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._thread = threading.get_ident()
        self._host.start(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._host.stop()

    # From here on: in the thread of the keeper

    async def _run(self, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        self._stopping = stopping
        watch, is_failing = LoopWatch.begin(loop.time()), False
        while not await happens(stopping, self._limits.tick):
            try:
                watch = self._step(watch, loop.time())
                is_failing = False
            except Exception as error:  # noqa: BLE001 - without a keeper, all leases are lost
                if not is_failing:
                    self._host.report(failure_of("Keeper", error, self._limits.tick))
                is_failing = True
        await self._renewal.close()
        if self._beside:
            await self._close_connections()

    def _step(self, watch: LoopWatch, now: float) -> LoopWatch:
        if self._loop.is_closed():
            # Nobody works any more, and nobody will stop this keeper. A loop that closed after a
            # question never answers, and is not asked again: the keeper would renew for minutes.
            self._stopping.set()
            return watch
        answered = self._answered
        if answered:
            self._ask_loop()
        watch, sights = look(watch, now, self._limits, answered=answered)
        # The leases first: reports take time.
        if is_due(self._renewal.state, watch, self._limits):
            self._renewal.begin(now)
        for sight in sights:
            self._act(sight)
        return watch

    def _ask_loop(self) -> None:
        self._answered = False
        self._wake(self._answer)

    def _answer(self) -> None:
        """Answer the keeper. Runs in the event loop of the receivers."""
        self._answered = True

    def _wake(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed, as the next step sees
            self._loop.call_soon_threadsafe(function, context=self._context)

    async def _close_connections(self) -> None:
        """Close the connections that the broker has in this thread's event loop."""
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                await self._broker.close()

    # Reports

    def _act(self, sight: Sight) -> None:
        match sight:
            case Blocked(seconds):
                self._report_block(seconds)
            case Freed(seconds):
                self._report_end(seconds)
            case StoodStill(seconds):
                self._report_standstill(seconds)
            case GivenUp(seconds):
                self._report_surrender(seconds)
            case EndProcess():
                self._end_process()

    def _report_block(self, seconds: float) -> None:
        stand = self._stand = stand_of(self._thread)
        self._host.report(
            catalogue.LoopBlocked(
                receiver=stand.receiver,
                seconds=round(seconds, 3),
                line=stand.line,
                stack=stand.stack,
            )
        )

    def _report_end(self, seconds: float) -> None:
        stand, self._stand = self._stand, None
        self._host.report(
            catalogue.LoopFreed(
                receiver=None if stand is None else stand.receiver, seconds=round(seconds, 3)
            )
        )

    def _report_standstill(self, seconds: float) -> None:
        # C code that held the GIL has just returned to the line that called it.
        stand = stand_of(self._thread)
        self._host.report(
            catalogue.ProcessStoodStill(
                receiver=stand.receiver, seconds=round(seconds, 3), line=stand.line
            )
        )

    def _report_surrender(self, seconds: float) -> None:
        stand = stand_of(self._thread)
        self._host.report(
            catalogue.LoopGivenUp(
                receiver=stand.receiver, seconds=round(seconds, 3), line=stand.line
            )
        )

    def _end_process(self) -> None:
        stand = stand_of(self._thread)
        self._host.report_last(
            catalogue.ProcessEnded(
                receiver=stand.receiver, line=stand.line, stack=stand.stack, status=_HUNG
            )
        )
        end_process(_HUNG)


def end_process(status: int) -> None:
    """End the process at once: a loop that is blocked runs no code that could clean up."""
    os._exit(status)
