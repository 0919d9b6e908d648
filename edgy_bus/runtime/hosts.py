"""Run the keeper of leases beside the event loop of the receivers, or as a task of that loop."""

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from edgy_bus import telemetry
from edgy_bus.services import failure_of
from edgy_bus.telemetry import Notice

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Works until the event is set."""

_LONGEST_END = 5.0
"""Seconds that the thread may take to end."""

_AT_EXIT = 1.0
"""The same when the interpreter ends without the end of the service that started the thread."""


class InThread:
    """Run a coroutine in an event loop of its own, in a thread of its own.

    The thread is a daemon: a program that leaves its event loop without an end of its services
    can exit.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ended: Future[None] = Future()
        # From here on, nobody who waits for the end can cancel the future.
        self._ended.set_running_or_notify_cancel()

    def start(self, run: Run) -> None:
        """Start the thread."""
        thread = threading.Thread(
            target=self._main, args=(run,), name="edgy_bus keeper", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            self._loop.close()
            raise
        self._thread = thread
        atexit.register(self._leave)

    def _main(self, run: Run) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(run(self._stopping))
        finally:
            self._ended.set_result(None)

    async def stop(self) -> None:
        """Ask the coroutine to end, and wait for the end of the thread."""
        # Asked before the first wait: a caller that is cancelled leaves no thread behind.
        self._ask_to_end()
        atexit.unregister(self._leave)
        try:
            async with asyncio.timeout(_LONGEST_END):
                await asyncio.wrap_future(self._ended)
            self._thread.join(_AT_EXIT)  # it has nothing left to do
        except TimeoutError as error:
            telemetry.emit(failure_of("Keeper, whose thread does not end", error, None))

    def report(self, notice: Notice) -> None:
        """Emit a notice in a thread of its own."""
        # The loop may be blocked while it writes to a full pipe, with the lock of a log handler.
        # The keeper would wait for that lock, and renew nothing meanwhile.
        self._emitter(notice).start()

    def report_last(self, notice: Notice) -> None:
        """Emit a notice before the process ends; wait for a second at most."""
        emitter = self._emitter(notice)
        emitter.start()
        emitter.join(_AT_EXIT)

    def _emitter(self, notice: Notice) -> threading.Thread:
        return threading.Thread(target=telemetry.emit, args=(notice,), daemon=True)

    def _ask_to_end(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: the thread has ended
            self._loop.call_soon_threadsafe(self._stopping.set)

    def _leave(self) -> None:
        self._ask_to_end()
        self._thread.join(_AT_EXIT)


class InTask:
    """Run a coroutine as a task of the event loop, for a broker that serves a single loop."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def start(self, run: Run) -> None:
        """Start the task."""
        self._task = asyncio.create_task(run(self._stopping))

    async def stop(self) -> None:
        """Ask the coroutine to end, and wait for its end."""
        self._stopping.set()
        await asyncio.wait([self._task])

    def report(self, notice: Notice) -> None:
        """Emit a notice."""
        telemetry.emit(notice)

    report_last = report
