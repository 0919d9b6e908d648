"""Listen for PostgreSQL notifications (LISTEN) on a connection that serves no other purpose."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from edgy_bus import telemetry
from edgy_bus.database.backends.postgres_sockets import keep_alive
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue

FIRST_PAUSE = 0.2
"""Seconds before the first attempt to connect again; every further pause is twice as long."""

LONGEST_PAUSE = 10.0
PROBE_EVERY = 15.0
"""Seconds between probes of a silent connection: a cut network reports no error by itself."""

PROBE_TIMEOUT = 5.0
"""Seconds after which a probe without an answer counts as a lost connection."""

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Listener(Service):
    """Call `callback` at every notification of a channel, and after every reconnection.

    A notification is lost while the connection is down. Callers must therefore also look for work
    at intervals, without a call of `callback`.

    Args:
        arguments: the arguments of `asyncpg.connect`.
        channel: the name of the channel.
        callback: called in the event loop; must not block.
    """

    def __init__(
        self, arguments: Mapping[str, Any], channel: str, callback: Callable[[], None]
    ) -> None:
        super().__init__()
        self._arguments = arguments
        self._channel = channel
        self._callback = callback
        self.tried = asyncio.Event()
        """Set when the first attempt to connect has ended, with or without success."""

    async def run(self) -> None:
        """Listen, and connect again after every loss, with growing pauses."""
        pause = FIRST_PAUSE
        while not self.stopping.is_set():
            try:
                await self._listen()
                pause = FIRST_PAUSE
            except _LOST as error:
                telemetry.emit(
                    catalogue.ListenerLost(channel=self._channel, error=type(error).__name__)
                )
                self.tried.set()
                await self.pause(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _listen(self) -> None:
        """Listen until the connection is lost or the service stops."""
        connection = await asyncpg.connect(**self._arguments)
        try:
            keep_alive(connection)
            ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            await connection.add_listener(self._channel, self._on_notification)
            # LISTEN is active from here on. A notification between the loss of the last connection
            # and this line has reached nobody, so the callback runs as if one had arrived.
            if self.tried.is_set():
                self._callback()
            self.tried.set()
            while not (ended.is_set() or self.stopping.is_set()):
                await self._sleep(ended)
                if not (ended.is_set() or self.stopping.is_set()):
                    await connection.execute("SELECT 1", timeout=PROBE_TIMEOUT)
        finally:
            # terminate, not close: closing waits for an answer of a server that may be away.
            connection.terminate()

    async def _sleep(self, ended: asyncio.Event) -> None:
        """Wait until the connection ends, the service stops, or the next probe is due."""
        self.progress.note(rests=PROBE_EVERY)
        waiters = [asyncio.create_task(event.wait()) for event in (ended, self.stopping)]
        try:
            await asyncio.wait(waiters, timeout=PROBE_EVERY, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    def _on_notification(self, *_: object) -> None:
        self._callback()
