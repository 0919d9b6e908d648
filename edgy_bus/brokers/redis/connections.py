"""Connections to Redis: pooled, tried before use after a rest, and closed where they lead astray.

redis-py opens and authenticates connections, and reads replies. Everything above that is here,
because a call must never be repeated without the knowledge of its caller.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

from hiredis import pack_command
from redis import __version__ as redis_version
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from edgy_bus.brokers.redis.failures import Failure, classify
from edgy_bus.brokers.redis.url import Address
from edgy_bus.errors import ConfigurationError
from edgy_bus.services import PerLoop

CONNECT_TIMEOUT = 5.0
"""Seconds to open a connection."""

_RESTED = 2.0
"""Seconds without use after which a connection is tried before the next use.

Firewalls and load balancers forget idle connections, and report that to neither side.
"""

_TRIAL = 1.0
"""Seconds that a trial may take."""

Argument = str | bytes | int | float
"""An argument of a command."""

Command = Sequence[Argument]
"""A command and its arguments."""


class Connection(Protocol):
    """One connection of the pool."""

    async def send_packed_command(self, command: Sequence[bytes]) -> None: ...

    async def read_response(self) -> Any: ...

    async def disconnect(self, nowait: bool = ...) -> None: ...


class Pool(Protocol):
    """The connections of an event loop. The annotations of redis-py leave these methods open."""

    async def get_connection(self) -> Connection: ...

    async def release(self, connection: Connection) -> None: ...

    async def aclose(self) -> None: ...

    async def close_idle(self) -> None: ...


class Attempt:
    """Remember how far a call has come, for the meaning of its error.

    Attributes:
        sent: whether the server may have run something of the call.
    """

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


class Connections:
    """Exchange commands and replies with a server, over connections of the running event loop.

    Attributes:
        generation: counts how often the address turned out to lead to another server.
    """

    def __init__(self, address: Address) -> None:
        self.generation = 0
        _make_pool(address)  # a value that redis-py refuses is reported here
        self._pools = PerLoop(lambda: _make_pool(address))

    async def take(self) -> Connection:
        """Return a connection that `put_back` has to get again."""
        return await self._pools.get().get_connection()

    async def put_back(self, connection: Connection) -> None:
        """Put a connection back for the next caller, without replies on their way."""
        await self._pools.get().release(connection)

    async def exchange(
        self, commands: Sequence[bytes], attempt: Attempt, *, keep_errors: bool = False
    ) -> list[Any]:
        """Send packed commands, and return their replies.

        Raises the first error reply, unless `keep_errors` puts each error among the replies.
        """
        connection = await self.take()
        try:
            attempt.sent = True
            return await self.converse(connection, commands, keep_errors=keep_errors)
        finally:
            await self.put_back(connection)

    async def converse(
        self, connection: Connection, commands: Sequence[bytes], *, keep_errors: bool = False
    ) -> list[Any]:
        """Send packed commands on a connection, and return their replies, as `exchange` does."""
        replies: list[Any] = []
        try:
            await connection.send_packed_command(commands)
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    if not keep_errors:
                        raise
                    replies.append(error)
        except ResponseError as error:
            if classify(error) is Failure.WRONG_SERVER:
                await self._leave(connection)
            raise
        finally:
            # redis-py disconnects when a send or a read is interrupted, so that no other caller
            # reads these replies. After an error reply, later replies would stay on the connection.
            if len(replies) + 1 < len(commands):
                await connection.disconnect(nowait=True)
        return replies

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        await self._pools.get().aclose()

    async def _leave(self, connection: Connection) -> None:
        """Close the connections to a server that is a replica now.

        Behind one address, as a managed server or a Kubernetes service has, new connections reach
        the new primary. Open ones stay with the old primary for ever, and answer.
        """
        self.generation += 1
        await connection.disconnect(nowait=True)
        await self._pools.get().close_idle()


def pack(command: Command) -> bytes:
    """Return a command as the server reads it."""
    # redis-py packs argument by argument, which costs more than the rest of a call. The annotation
    # of hiredis allows a tuple of one argument only.
    packed: bytes = pack_command(tuple(command))  # type: ignore[arg-type]
    return packed


class _Pool(ConnectionPool):
    """Try connections that have rested, before a call depends on one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._last_use: WeakKeyDictionary[AbstractConnection, float] = WeakKeyDictionary()

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        rested = asyncio.get_running_loop().time() - self._last_use.get(connection, 0.0)
        if _was_reset(connection):
            await connection.disconnect(nowait=True)
        elif connection.is_connected and rested > _RESTED and not await _answers(connection):
            await connection.disconnect(nowait=True)
            # Every connection that has rested as long is forgotten, too.
            await self.close_idle()
        await super().ensure_connection(connection)

    async def close_idle(self) -> None:
        """Close the connections that nobody uses. They are opened again for their next use."""
        for connection in tuple(self._available_connections):
            # A caller may have taken this connection while another was closed: `disconnect` of the
            # pool would close a connection in use.
            if connection in self._available_connections:
                await connection.disconnect(nowait=True)

    async def release(self, connection: AbstractConnection) -> None:
        self._last_use[connection] = asyncio.get_running_loop().time()
        await super().release(connection)


def _was_reset(connection: AbstractConnection) -> bool:
    """Return whether the other side has reset a connection while nobody read."""
    # redis-py learns of that when it writes, too late to know that nothing was sent. Its own look
    # before use finds an ordinary end only, and under uvloop raises a RuntimeError.
    writer = connection._writer
    return writer is not None and writer.is_closing()


async def _answers(connection: AbstractConnection) -> bool:
    """Return whether a connection answers a trial."""
    try:
        async with asyncio.timeout(_TRIAL):
            await connection.send_packed_command(pack(("PING",)), check_health=False)
            await connection.read_response()
    except (RedisError, OSError, TimeoutError):
        return False
    return True


def _make_pool(address: Address) -> Pool:
    # `Conversations` bounds the connections, and lets callers wait instead of fail.
    settings: dict[str, Any] = {
        "max_connections": 2**16,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        # On Python 3.11 a socket timeout loses a cancellation that arrives while a command is sent
        # (redis-py uses `asyncio.wait_for`). `conversation` limits the time instead.
        "socket_timeout": None,
        # A publish whose answer was lost must not be sent again blindly: the caller inspects the
        # stream first.
        "retry": Retry(NoBackoff(), 0),
        # Replies as the scripts and `RedisBell` expect them, in every version of redis-py.
        "protocol": 2,
        # Streams may contain any bytes, and hostile entries must reach the dead letters raw.
        "decode_responses": False,
    }
    if not address.url.startswith("unix:"):
        settings["socket_keepalive"] = True
    with suppress(ValueError, TypeError):
        pool: Any = _Pool.from_url(address.url, **settings)
        # Opens nothing. An older redis-py knows fewer parameters, and would refuse the others at
        # the first call only.
        pool.make_connection()
        return cast(Pool, pool)
    # Raised here, and not where the error of redis-py is caught: its text may quote the URL.
    raise ConfigurationError(
        "a parameter of the Redis URL, or its value, is one that redis-py "
        f"{redis_version} cannot use (docs/security.md)"
    )
