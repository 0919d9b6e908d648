"""The Redis client as this package uses the client: without hidden retries, with typed answers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from edgy_bus.errors import ConfigurationError

CONNECT_TIMEOUT = 5.0
"""Seconds to open a connection."""

Argument = str | bytes | int | float
"""An argument of a command."""

Fields = Mapping[bytes, bytes]
"""The fields of an entry or of a hash."""

Row = tuple[bytes, Fields]
"""An entry of a stream: id and fields."""


class Connection(Protocol):
    """One connection of the pool."""

    async def send_packed_command(self, command: Sequence[bytes]) -> None: ...

    async def read_response(self) -> Any: ...

    async def disconnect(self, nowait: bool = ...) -> None: ...


class Pool(Protocol):
    """The connections of a client."""

    async def get_connection(self) -> Connection: ...

    async def release(self, connection: Connection) -> None: ...


class Pipeline(Protocol):
    """Commands that are sent together."""

    def xrevrange(self, name: str, *, count: int) -> object: ...

    async def execute(self) -> list[list[Row]]: ...


class Client(Protocol):
    """The commands that are sent outside of scripts.

    The annotations of redis-py do not say which answers are bytes; these do.
    """

    @property
    def connection_pool(self) -> Pool: ...

    async def aclose(self) -> None: ...

    async def config_get(self, pattern: str) -> dict[str, str]: ...

    async def execute_command(self, *arguments: Argument) -> Any: ...

    async def exists(self, name: str) -> int: ...

    async def hget(self, name: str, key: str) -> bytes | None: ...

    async def hgetall(self, name: str) -> Fields: ...

    async def hsetnx(self, name: str, key: str, value: str) -> int: ...

    async def ping(self) -> bool: ...

    def pipeline(self, transaction: bool) -> Pipeline: ...

    def scan_iter(self, match: str, count: int) -> AsyncIterator[bytes]: ...

    async def unlink(self, name: str | bytes) -> int: ...

    async def xgroup_destroy(self, name: str, groupname: str) -> int: ...

    async def xinfo_groups(self, name: str) -> list[dict[str, Any]]: ...

    async def xlen(self, name: str) -> int: ...

    async def xrange(self, name: str, min: str = ..., *, count: int | None = ...) -> list[Row]: ...


def make_client(url: str, *, single: bool = False) -> Client:
    """Return a client for `url`. With `single`, the client has one connection."""
    try:
        client = Redis.from_url(
            url,
            # On Python 3.11 a socket timeout loses a cancellation that arrives while a command is
            # sent (redis-py uses `asyncio.wait_for`). `conversation` limits the time instead.
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_keepalive=True,
            # A publish whose answer was lost must not be sent again blindly: the caller inspects
            # the stream first.
            retry=Retry(NoBackoff(), 0),
            # Replies as the scripts and `Bell` expect them, in every version of redis-py.
            protocol=2,
            # Streams may contain any bytes, and hostile entries must reach the dead letters raw.
            decode_responses=False,
            single_connection_client=single,
            # `Conversations` bounds the connections, and lets callers wait instead of fail.
            max_connections=2**16,
        )
    except ValueError as error:
        raise ConfigurationError(
            f"this is not a Redis URL: {error}. Write for example redis://localhost:6379/0"
        ) from None
    return cast(Client, client)
