"""How this package talks to Redis: clients without hidden retries, scripts, and conversations that have a time limit and our errors."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import Any

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError

TIMEOUT = 5.0
"""Seconds that a conversation with Redis may take."""
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


def make_client(url: str, *, single: bool = False) -> Any:
    """A client that never repeats a command by itself: a publish whose answer was lost must not be sent blindly again.

    It has no socket timeout: on Python 3.11 that loses a cancellation which arrives while a command is sent (the
    client uses `asyncio.wait_for`); `asking` limits the time instead.

    Typed as Any: the client's own annotations do not know which of its answers are bytes.
    """
    try:
        return Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            legacy_responses=True,
            decode_responses=False,
            single_connection_client=single,
        )
    except ValueError as error:
        raise ConfigurationError(f"this is not a Redis URL: {error}") from None


@asynccontextmanager
async def asking(timeout: float | None = None) -> AsyncIterator[None]:
    """A conversation of at most `timeout` seconds, or of `TIMEOUT`. Temporary errors become `BrokerUnavailable`, the rest `BrokerError`."""
    try:
        async with asyncio.timeout(TIMEOUT if timeout is None else timeout):
            yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise BrokerError(f"Redis refuses these credentials: {error}") from error
    except _TEMPORARY as error:
        raise BrokerUnavailable(f"Redis does not answer: {type(error).__name__}: {error}") from error
    except ResponseError as error:
        if str(error).startswith(_TEMPORARY_CODES):
            raise BrokerUnavailable(f"Redis cannot do this now: {error}") from error
        raise BrokerError(f"Redis refuses: {error}") from error
    except RedisError as error:
        raise BrokerError(f"{type(error).__name__}: {error}") from error


@cache
def _source(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


class Scripts:
    """The Lua files of this folder, called by their digest. `NOSCRIPT` means that nothing was run, so that call may be repeated."""

    def __init__(self, client: Callable[[], Any]) -> None:
        self._client = client
        self._digests: dict[str, str] = {}

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with asking():
            digest = self._digests.get(name) or await self._load(name)
            try:
                return await self._evaluate(digest, keys, arguments)
            except NoScriptError:
                return await self._evaluate(await self._load(name), keys, arguments)

    async def _evaluate(self, digest: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """EVALSHA on a connection of the pool: the client would encode argument by argument, which costs more than the rest.

        Sending and reading disconnect by themselves when they are interrupted, so that no other caller reads our answer.
        """
        pool = self._client().connection_pool
        command = pack_command(("EVALSHA", digest, len(keys), *keys, *arguments))
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(command)
            return await connection.read_response()
        finally:
            await pool.release(connection)

    async def _load(self, name: str) -> str:
        digest = await self._client().execute_command("SCRIPT LOAD", _source(name))
        self._digests[name] = digest.decode() if isinstance(digest, bytes) else digest
        return self._digests[name]
