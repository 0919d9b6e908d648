"""Conversations with Redis: limited in time and in number, with errors of this package."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

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

_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
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
_NO_RIGHT = "can't run this command"
"""Part of the error text where a script runs a command that its caller may not run."""


def translate(error: BaseException | None) -> BrokerError | None:
    """Return the error of this package for an error of Redis: `BrokerUnavailable` if temporary.

    Return None for every other error.
    """
    if isinstance(error, _REFUSED):
        return BrokerError(
            f"Redis refuses these credentials: {error}. Check the user and password in the URL, "
            "and the user's rights (docs/security.md)"
        )
    if isinstance(error, _TEMPORARY):
        return BrokerUnavailable(f"Redis does not answer: {type(error).__name__}: {error}")
    if isinstance(error, ResponseError):
        return _translate_reply(str(error))
    if isinstance(error, RedisError):
        return BrokerError(f"{type(error).__name__}: {error}")
    return None


def _translate_reply(text: str) -> BrokerError:
    """Return the error for an error reply of the server."""
    if text.startswith(_TEMPORARY_CODES):
        return BrokerUnavailable(f"Redis cannot do this now: {text}")
    if _NO_RIGHT in text:
        return BrokerError(
            f"Redis refuses a command inside a script: {text}. Compare the user's rights with "
            "docs/security.md"
        )
    return BrokerError(f"Redis refuses: {text}")


class _Translating:
    """Translate errors of Redis in a `with` statement."""

    # A class, because every call would pay for a generator.

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        translated = translate(error)
        if translated is not None:
            raise translated from error


translating = _Translating()


def limit(timeout: float | None = None) -> asyncio.Timeout:
    """Return the time limit of a conversation: `timeout` seconds, or `TIMEOUT`."""
    return asyncio.timeout(TIMEOUT if timeout is None else timeout)


@asynccontextmanager
async def conversation(timeout: float | None = None) -> AsyncIterator[None]:
    """Limit a conversation to `timeout` seconds (default: `TIMEOUT`) and translate its errors."""
    with translating:
        async with limit(timeout):
            yield


class Conversations:
    """Limit the conversations of one client: a worker may take hundreds of partitions at once."""

    def __init__(self) -> None:
        self.free = asyncio.Semaphore(MAX_CONVERSATIONS)

    @asynccontextmanager
    async def turn(self, timeout: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn, and hold a conversation."""
        # The time limit includes the wait for a turn: a caller with a lease must not learn too late
        # that the server does not answer.
        with translating:
            async with limit(timeout), self.free:
                yield
