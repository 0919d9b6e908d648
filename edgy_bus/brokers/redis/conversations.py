"""Conversations with Redis: limited in time and in number, with errors of this package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

from edgy_bus.brokers.redis.connections import Attempt
from edgy_bus.brokers.redis.failures import translate
from edgy_bus.brokers.redis.url import MOST_CONNECTIONS
from edgy_bus.services import PerLoop

TIMEOUT = 5.0
"""Seconds that a conversation with Redis may take."""


class Translating(Attempt):
    """Translate errors of Redis in a `with` statement, by what the attempt has sent."""

    # A class, because every call would pay for a generator.

    __slots__ = ()

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        translated = translate(error, sent=self.sent)
        if translated is not None:
            raise translated from error


def limit(timeout: float | None = None) -> asyncio.Timeout:
    """Return the time limit of a conversation: `timeout` seconds, or `TIMEOUT`."""
    return asyncio.timeout(TIMEOUT if timeout is None else timeout)


@asynccontextmanager
async def conversation(timeout: float | None = None) -> AsyncIterator[Attempt]:
    """Limit a conversation to `timeout` seconds (default: `TIMEOUT`) and translate its errors."""
    with Translating() as attempt:
        async with limit(timeout):
            yield attempt


class Conversations:
    """Limit the conversations of one client: a worker may take hundreds of partitions at once.

    Args:
        connections: the connections that the client may have. One is for the renewal of leases,
            which waits for no turn.
    """

    def __init__(self, connections: int = MOST_CONNECTIONS) -> None:
        self._free = PerLoop(lambda: asyncio.Semaphore(max(1, connections - 1)))

    @property
    def free(self) -> asyncio.Semaphore:
        """Return the turns of the running event loop."""
        return self._free.get()

    @asynccontextmanager
    async def turn(self, timeout: float | None = None) -> AsyncIterator[Attempt]:
        """Wait for a turn, and hold a conversation."""
        # The time limit includes the wait for a turn: a caller with a lease must not learn too late
        # that the server does not answer.
        with Translating() as attempt:
            async with limit(timeout), self.free:
                yield attempt
