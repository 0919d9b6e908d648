"""Call the application's hooks with the errors of receivers (`Bus.on_error`).

The hooks run in a task of their own, one after another. A hook that raises, hangs or is slow delays
no receiver: its error is reported, its time is limited, and what does not fit in the queue is
counted.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.errors import ConfigurationError
from edgy_bus.reasons import describe, trace_of
from edgy_bus.services import Bell, Service
from edgy_bus.signals.naming import describe as name_of
from edgy_bus.telemetry import catalogue

_LONGEST = 10.0
"""Seconds for a call of a hook."""

_MOST_WAITING = 100
"""Failed calls that wait for the hooks. Each keeps the variables of its call in memory."""

_REPORTED_EVERY = 60.0
"""Seconds between two reports about the same hook."""


@dataclass(frozen=True, slots=True)
class FailedCall:
    """Describe a call of a receiver in a worker that raised, or took longer than its deadline.

    Attributes:
        exception: the error, with its traceback; a `TimeoutError` after the deadline.
        group: the group of the receiver.
        receiver: the durable name of the receiver.
        model: the model of the event, `accounts.User`.
        signal: the signal of the event.
        event_id: the id of the event; for a call with several events, of each event in turn.
        subject: the key of the event's row; None for an event without a row.
        attempt: how many calls have failed, with this call.
        will_retry: whether the receiver is called again with the event. Otherwise the event goes to
            the dead letters, or its row is held.
    """

    exception: BaseException
    group: str
    receiver: str
    model: str
    signal: str
    event_id: str
    subject: str | None
    attempt: int
    will_retry: bool


ErrorHook = Callable[[FailedCall], Awaitable[None] | None]


def check_hook(hook: ErrorHook) -> ErrorHook:
    """Return a hook of errors. Raises `ConfigurationError` for an object that is no function."""
    if not callable(hook):
        raise ConfigurationError(f"on_error takes a function, not a {type(hook).__name__}")
    return hook


class ErrorHooks(Service):
    """Hand failed calls to hooks, in the background.

    Args:
        hooks: the hooks; the list may grow.
    """

    def __init__(self, hooks: Sequence[ErrorHook]) -> None:
        super().__init__()
        self._hooks = hooks
        self._waiting: deque[FailedCall] = deque()
        self._missed = 0
        self._bell = Bell()
        self._next_reports: dict[str, float] = {}
        self._left: set[asyncio.Task[None]] = set()
        """Calls of hooks that swallowed their cancellation: kept, or Python may drop them."""

    def put(self, failed: FailedCall) -> None:
        """Hand over a failed call. Does not wait; without hooks, drops the call."""
        if not self._hooks:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._missed += 1
            return
        self._waiting.append(failed)
        self._bell.ring()

    async def run(self) -> None:
        """Call the hooks until stopped; what waits at the end is handed over first."""
        while not (self.stopping.is_set() and not self._waiting):
            if not self._waiting:
                await self._bell.wait(1.0)
                continue
            failed = self._waiting.popleft()
            for hook in self._hooks:
                await self._call(hook, failed)
            self._report_missed()

    async def finish(self, within: float) -> None:
        """Hand over what waits, for at most `within` seconds, and end."""
        self.ask_to_stop()
        self._bell.ring()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.wait()
        await self.abort()

    async def _call(self, hook: ErrorHook, failed: FailedCall) -> None:
        """Call a hook, for as long as its time lasts."""
        # In a task of its own: nothing that a hook does, its own cancellation included, reaches
        # this loop, and a hook that swallows its cancellation is left behind.
        task = asyncio.create_task(self._guarded_call(hook, failed))
        try:
            done, _ = await asyncio.wait({task}, timeout=_LONGEST)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            self._left.add(task)
            task.add_done_callback(self._left.discard)
            self._report(hook, f"took longer than {_LONGEST:g} s", "")

    async def _guarded_call(self, hook: ErrorHook, failed: FailedCall) -> None:
        try:
            answer = hook(failed)
            if inspect.isawaitable(answer):
                await answer
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a hook may raise anything
            self._report(hook, describe(error), trace_of(error))

    def _report(self, hook: ErrorHook, error: str, trace: str) -> None:
        name, now = name_of(hook), asyncio.get_running_loop().time()
        if now >= self._next_reports.get(name, 0.0):
            self._next_reports[name] = now + _REPORTED_EVERY
            telemetry.emit(catalogue.ErrorHookFailed(hook=name, error=error, trace=trace))

    def _report_missed(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._missed and now >= self._next_reports.get("", 0.0):
            self._next_reports[""] = now + _REPORTED_EVERY
            missed, self._missed = self._missed, 0
            telemetry.emit(catalogue.ErrorHookBehind(count=missed))
