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
AT_ONCE = 32
"""Conversations of one client at the same time. Others wait for their turn, which counts as part of their time."""
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
            decode_responses=False,
            single_connection_client=single,
            max_connections=2
            ** 16,  # `Turns` keeps them few, and makes who comes too late wait instead of fail
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
        raise BrokerUnavailable(
            f"Redis does not answer: {type(error).__name__}: {error}"
        ) from error
    except ResponseError as error:
        if str(error).startswith(_TEMPORARY_CODES):
            raise BrokerUnavailable(f"Redis cannot do this now: {error}") from error
        raise BrokerError(f"Redis refuses: {error}") from error
    except RedisError as error:
        raise BrokerError(f"{type(error).__name__}: {error}") from error


class Turns:
    """Conversations on the connections of one client, a few at a time: a worker may take hundreds of partitions at once."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def asking(self, timeout: float | None = None) -> AsyncIterator[None]:
        """As the function of this name does."""
        async with asking(timeout), self._free:
            yield


def _commands(digest: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[bytes]:
    """EVALSHA, packed: the client would encode argument by argument, which costs more than the rest."""
    return [
        pack_command(("EVALSHA", digest, len(keys), *keys, *arguments)) for keys, arguments in calls
    ]


@cache
def _source(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")


class Scripts:
    """The Lua files of this folder, called by their digest. `NOSCRIPT` means that nothing was run, so that call may be repeated."""

    def __init__(self, client: Callable[[], Any], turns: Turns) -> None:
        self._client = client
        self._turns = turns
        self._digests: dict[str, str] = {}

    async def call(self, name: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with self._turns.asking():
            digest = self._digests.get(name) or await self._load(name)
            try:
                return await self._evaluate(digest, keys, arguments)
            except NoScriptError:
                return await self._evaluate(await self._load(name), keys, arguments)

    async def call_all(
        self, name: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
    ) -> Sequence[Any]:
        """Many calls of one script that may be repeated, in one conversation, which waits for nobody's turn: leases are kept so."""
        async with asking():
            digest = self._digests.get(name) or await self._load(name)
            try:
                return await self._converse(_commands(digest, calls))
            except NoScriptError:
                return await self._converse(_commands(await self._load(name), calls))

    async def _evaluate(self, digest: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        (answer,) = await self._converse(_commands(digest, [(keys, arguments)]))
        return answer

    async def _converse(self, commands: Sequence[bytes]) -> list[Any]:
        """The answers to packed commands, on a connection of the pool.

        Sending and reading disconnect by themselves when they are interrupted, so that no other caller reads our answers. What is not
        read because an answer before it was an error must not stay there either.
        """
        pool = self._client().connection_pool
        connection = await pool.get_connection()
        answers: list[Any] = []
        try:
            await connection.send_packed_command(commands)
            for _ in commands:
                answers.append(await connection.read_response())
        finally:
            if len(answers) + 1 < len(commands):
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return answers

    async def _load(self, name: str) -> str:
        digest = await self._client().execute_command("SCRIPT LOAD", _source(name))
        self._digests[name] = digest.decode() if isinstance(digest, bytes) else digest
        return self._digests[name]
