"""The one contract that every background loop keeps, and the bell that wakes it.

A `Service` owns exactly one task. `start` may be called twice, `stop` may be called twice or before `start`, and when
`stop` has returned nothing of the service runs any more.
"""

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from edgy_bus import telemetry
from edgy_bus.telemetry import catalogue


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event for at most `within` seconds; whether it is set."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Service(ABC):
    """A loop in the background with an owner.

    Subclasses write `run`, which should return soon after `self.stopping` is set. A `run` that raises is reported through
    telemetry and re-raised to whoever calls `stop` or `wait`.
    """

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def run(self) -> None:
        """The loop itself."""

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> BaseException | None:
        """What ended the loop, if it was an error."""
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def start(self) -> None:
        """Begin in the background; nothing happens when it is already running."""
        if self.running:
            return
        self.stopping = asyncio.Event()
        self._task = asyncio.create_task(self._guarded(), name=type(self).__name__)

    async def stop(self) -> None:
        """Ask the loop to end and wait until it has. Work in hand is finished as far as `run` chooses to."""
        self.stopping.set()
        await self.wait()

    async def abort(self) -> None:
        """End the loop at its next await, whatever it is doing."""
        self.stopping.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(self) -> None:
        """Wait for the loop to end, and raise what ended it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def pause(self, seconds: float) -> None:
        """Sleep, but wake at once when the service is asked to stop."""
        await happens(self.stopping, seconds)

    async def _guarded(self) -> None:
        try:
            await self.run()
        except Exception as error:
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
    """Wakes one sleeper. Any number of rings before it looks are one ring: the work is found by looking, not by counting."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring for at most `timeout` seconds; whether there was one. The ring is consumed."""
        if not await happens(self._rung, timeout):
            return False
        self._rung.clear()
        return True
