"""Define the contract that every background loop keeps, and the bell that wakes a loop.

A `Service` owns exactly one task. `start` can be called twice, and `stop` twice or before `start`.
When `stop` has returned, no code of the service runs any more.
"""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from edgy_bus import telemetry
from edgy_bus.telemetry import catalogue


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event for at most `within` seconds; return whether the event is set."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Service(ABC):
    """Run a loop in the background, in a task that this object owns.

    Subclasses implement `run`, which returns soon after `self.stopping` is set. An error of `run`
    is reported through telemetry, and raised again to the caller of `stop` or `wait`.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """Do the work until `self.stopping` is set."""

    @property
    def running(self) -> bool:
        """Return whether the loop was started and has not ended."""
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> BaseException | None:
        """Return the error that ended the loop; None while it runs or after a normal end."""
        # A cancelled task has no exception to return: `Task.exception` would raise CancelledError
        # in the caller, who is not cancelled.
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def start(self) -> None:
        """Start the loop in the background; do nothing while it runs."""
        if self.running:
            return
        # A new Event for each start: a service that was stopped can be started again.
        self.stopping = asyncio.Event()
        self._task = asyncio.create_task(self._guarded(), name=type(self).__name__)

    async def stop(self) -> None:
        """Ask the loop to end, and wait for its end.

        `run` decides how much of the work in hand is finished. Raises the error that ended the
        loop.
        """
        self.stopping.set()
        await self.wait()

    async def abort(self) -> None:
        """Cancel the loop at its next await, and wait for its end. Does not raise its error."""
        self.stopping.set()
        if self._task is not None:
            self._task.cancel()
            # gather takes the task's CancelledError as a result. `await self._task` would raise
            # that error here, where a cancellation of the caller looks the same.
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Wait until the loop has ended, and raise the error that ended it, if any."""
        if self._task is not None:
            # Without shield, cancelling the caller would cancel the loop, which has its own owner.
            await asyncio.shield(self._task)

    async def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the service is asked to stop."""
        await happens(self.stopping, seconds)

    async def _guarded(self) -> None:
        try:
            await self.run()
        except Exception as error:
            # Nobody may await the task for hours: without this notice the loop would end silently.
            telemetry.emit(catalogue.ServiceFailed(service=type(self).__name__, error=repr(error)))
            raise

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


class Bell:
    """Wake one waiting task. Several rings before the wait count as a single ring.

    The waiting task looks for its work after every ring; a ring says nothing about how much.
    """

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiting task now, or at its next `wait`."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring for at most `timeout` seconds, and consume the ring.

        Returns whether the bell rang.
        """
        if not await happens(self._rung, timeout):
            return False
        # Cleared before the caller looks for work: a ring during that work stays for the next wait.
        self._rung.clear()
        return True
