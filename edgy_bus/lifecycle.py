"""Start something once and stop it once, in one event loop after another."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass

from edgy_bus.errors import ConfigurationError
from edgy_bus.services import PerLoop

Hook = Callable[[], Awaitable[None]]
"""Runs at each start of a bus."""

Begin = Callable[[AsyncExitStack, ExitStack], Awaitable[None]]
"""Starts the parts. The first stack stops them. The second undoes what outlasts an event loop."""


@dataclass(frozen=True, slots=True)
class _Running:
    """Hold what stops the parts, and the event loop and the process in which they run."""

    stack: AsyncExitStack
    lasting: ExitStack
    loop: asyncio.AbstractEventLoop
    process: int

    @property
    def is_alive(self) -> bool:
        return self.process == os.getpid() and not self.loop.is_closed()


def check_start(hook: Hook) -> Hook:
    """Return a hook of `Bus.on_start`. Raises `ConfigurationError` for what cannot be called."""
    if not callable(hook):
        raise ConfigurationError(
            f"on_start takes a function, not a {type(hook).__name__}: write @bus.on_start above "
            "`async def prepare()`, without a call"
        )
    return hook


async def run_hook(hook: Hook) -> None:
    """Await a hook. Raises `ConfigurationError` for a function that returns nothing to await."""
    awaited: object = hook()
    if not inspect.isawaitable(awaited):
        name = getattr(hook, "__qualname__", repr(hook))
        raise ConfigurationError(f"the hook {name} of on_start is not async: write `async def`")
    await awaited


class Lifecycle:
    """Start the parts of a bus, and stop them.

    Of tasks that start or stop at the same moment, one waits for the other.

    Args:
        begin: starts the parts; an error undoes what was started.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._running: _Running | None = None
        self._turns = PerLoop(asyncio.Lock)
        self._starter: asyncio.Task[object] | None = None

    @property
    def is_running(self) -> bool:
        """Return whether the parts run in this process, in an event loop that was not closed."""
        return self._running is not None and self._running.is_alive

    async def start(self) -> None:
        """Start the parts; do nothing while they run.

        Raises:
            ConfigurationError: if a start hook calls this method, or if the parts run in another
                event loop.
        """
        self._refuse_hook()
        async with self._turns.get():
            if self._runs_here():
                return
            self._abandon()
            self._starter = asyncio.current_task()
            try:
                self._running = await self._started()
            finally:
                self._starter = None

    async def _started(self) -> _Running:
        with ExitStack() as lasting:
            async with AsyncExitStack() as stack:
                await self._begin(stack, lasting)
                # Until here an error undoes everything; from here on `stop` does.
                loop = asyncio.get_running_loop()
                return _Running(stack.pop_all(), lasting.pop_all(), loop, os.getpid())

    async def stop(self) -> None:
        """Stop the parts; wait first for another task that starts them.

        Raises:
            ConfigurationError: as `start`.
        """
        self._refuse_hook()
        async with self._turns.get():
            if self._running is None or not self._runs_here():
                self._abandon()
                return
            # Taken before the first await: what fails to stop is not stopped again.
            running, self._running = self._running, None
            with running.lasting:
                await running.stack.aclose()

    def _refuse_hook(self) -> None:
        if self._starter is not None and self._starter is asyncio.current_task():
            raise ConfigurationError(
                "a hook of on_start starts or stops its own bus, which would wait for the hook: "
                "leave `bus.start()`, `bus.stop()` and `async with bus` out of the hook"
            )

    def _runs_here(self) -> bool:
        """Return whether the parts run in this event loop.

        Raises:
            ConfigurationError: if they run in another event loop that was not closed.
        """
        if self._running is None or not self.is_running:
            return False
        if self._running.loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                "this bus runs in another event loop, for example of another thread: stop the bus "
                "there first, or use a Bus of its own for each loop"
            )
        return True

    def _abandon(self) -> None:
        """Forget the parts that run in the parent process, or ran in a loop that was closed."""
        running, self._running = self._running, None
        if running is not None:
            # No task of theirs runs here. Databases and brokers drop their own connections.
            running.stack.pop_all()
            running.lasting.close()
