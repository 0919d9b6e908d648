"""Conversations with Redis: a time limit, a limited number at a time, and errors of this package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from edgy_bus.errors import BrokerError, BrokerUnavailable

TIMEOUT = 5.0
"""Seconds that a conversation with Redis may take."""

MAX_CONVERSATIONS = 32
"""Conversations of one client at the same time. Waiting for a turn counts as conversation time."""

# Errors that end by themselves. The caller waits and tries again, and no program exits.
_TEMPORARY = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    OutOfMemoryError,
    TryAgainError,
    OSError,
    asyncio.TimeoutError,
)
# The same for replies that redis-py knows by no class of its own.
_TEMPORARY_CODES = (
    "OOM ",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MISCONF",
    "UNBLOCKED",
)


@asynccontextmanager
async def conversation(timeout: float | None = None) -> AsyncIterator[None]:
    """Limit a conversation to `timeout` seconds (default: `TIMEOUT`) and translate its errors.

    Temporary errors become `BrokerUnavailable`, all others `BrokerError`.
    """
    try:
        async with asyncio.timeout(TIMEOUT if timeout is None else timeout):
            yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise BrokerError(
            f"Redis refuses these credentials: {error}. Check the user and password in the URL, "
            "and the user's rights (docs/security.md)"
        ) from error
    except _TEMPORARY as error:
        raise BrokerUnavailable(
            f"Redis does not answer: {type(error).__name__}: {error}"
        ) from error
    except ResponseError as error:
        if str(error).startswith(_TEMPORARY_CODES):
            raise BrokerUnavailable(f"Redis cannot do this now: {error}") from error
        raise BrokerError(f"Redis refuses: {error}") from error
    except RedisError as error:
        raise BrokerError(f"{type(error).__name__}: {error}") from error


class Conversations:
    """Limit the conversations of one client: a worker may take hundreds of partitions at once."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_CONVERSATIONS)

    @asynccontextmanager
    async def turn(self, timeout: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn, and hold a `conversation`."""
        # The time limit includes the wait for a turn: a caller with a lease must not learn too late
        # that the server does not answer.
        async with conversation(timeout), self._free:
            yield
