"""Call coroutines from the events of a session, which are plain functions."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Protocol

from sqlalchemy.util import await_only

from edgy_bus.errors import OperationError
from edgy_bus.sources import Value

Call = Coroutine[Value, Value, None]


class Caller(Protocol):
    """Runs receivers in the flow of a session, and tells the bus about commits."""

    def wait_for(self, call: Call) -> None:
        """Run a coroutine to its end. An error of the coroutine is raised here."""

    def notify(self, callback: Callable[[], None]) -> None:
        """Call a function that belongs to the event loop of the bus, some time."""


class AsyncCaller:
    """Runs coroutines in the task that called the `AsyncSession`."""

    def wait_for(self, call: Call) -> None:
        """Run a coroutine in the caller's task, with its context variables."""
        await_only(call)

    def notify(self, callback: Callable[[], None]) -> None:
        """Call the function now: the task runs in the event loop of the bus."""
        callback()


class PortalCaller:
    """Runs coroutines of synchronous sessions in the event loop of a thread of its own.

    All receivers share the loop, so that their clients and pools work from call to call.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._of_bus: asyncio.AbstractEventLoop | None = None

    async def remember_bus(self) -> None:
        """Note the event loop in which the bus has started."""
        self._of_bus = asyncio.get_running_loop()

    def wait_for(self, call: Call) -> None:
        """Run a coroutine in the thread, with the context variables of the caller.

        Raises:
            OperationError: from a running event loop, which would stand still meanwhile.
        """
        if _is_in_loop():
            call.close()
            raise OperationError(
                "a receiver of a synchronous Session would block the event loop that runs here: "
                "use an AsyncSession, or call the function that uses the Session with "
                "asyncio.to_thread"
            )
        # The caller waits here: receivers run one after the other, before the SQL.
        asyncio.run_coroutine_threadsafe(call, self._running_loop()).result()

    def notify(self, callback: Callable[[], None]) -> None:
        """Call the function in the loop of the bus, if the bus runs in this process."""
        # Without a bus in this process, relays elsewhere find the events when they look next.
        loop = self._of_bus
        if loop is not None and loop.is_running():
            loop.call_soon_threadsafe(callback)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a program ends without asking the thread.
                threading.Thread(
                    target=self._loop.run_forever, name="edgy-bus-receivers", daemon=True
                ).start()
            return self._loop


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
