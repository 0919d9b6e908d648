"""LISTEN on a PostgreSQL connection of its own, for as long as it is wanted."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import asyncpg

from edgy_bus import telemetry
from edgy_bus.services import Service
from edgy_bus.telemetry import catalogue

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 10.0
PROBE_EVERY = 30.0
"""Seconds after which a silent connection is asked whether it still lives: a cut network tells nobody."""

PROBE_TIMEOUT = 10.0
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Listener(Service):
    """Calls `callback` at every notification of a channel.

    A notification sent while the connection was down is lost: that is why `callback` is also called after every
    reconnection, and why whoever relies on it has to look, now and then, without having been called.
    """

    def __init__(
        self, arguments: Mapping[str, Any], channel: str, callback: Callable[[], None]
    ) -> None:
        super().__init__()
        self._arguments = arguments
        self._channel = channel
        self._callback = callback
        self.tried = asyncio.Event()
        """Set when the first attempt to connect has ended, in whichever way."""

    async def run(self) -> None:
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
            woken = asyncio.Event()
            connection.add_termination_listener(lambda _: woken.set())
            await connection.add_listener(self._channel, self._notified)
            if self.tried.is_set():
                self._callback()
            self.tried.set()
            while not (woken.is_set() or self.stopping.is_set()):
                await self._sleep(woken)
                if not (woken.is_set() or self.stopping.is_set()):
                    await connection.execute("SELECT 1", timeout=PROBE_TIMEOUT)
        finally:
            connection.terminate()

    async def _sleep(self, woken: asyncio.Event) -> None:
        """Until the connection ends, the service stops, or it is time for a probe."""
        waiters = [asyncio.create_task(event.wait()) for event in (woken, self.stopping)]
        try:
            await asyncio.wait(waiters, timeout=PROBE_EVERY, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    def _notified(self, *_: object) -> None:
        self._callback()
