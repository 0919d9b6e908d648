"""Keep idle connections to PostgreSQL outside of asyncpg's pool, which opens and closes them.

A release to asyncpg's pool and an acquisition cost about as much as a small statement. So an idle
connection stays here, and asyncpg's pool believes that a task uses it. The promises of asyncpg's
pool are kept here as well: unused connections are closed after a while, worn ones are replaced.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakSet

import asyncpg

from edgy_bus import telemetry
from edgy_bus.database.backends.postgres_settings import Init, Settings
from edgy_bus.database.backends.postgres_sockets import keep_alive, take_socket_away
from edgy_bus.database.home import refuse_to_leave
from edgy_bus.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from edgy_bus.services import PerLoop
from edgy_bus.telemetry import catalogue

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

Plain: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Wrapped: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A connection in the wrapper of asyncpg's pool."""

CLEANING_TIMEOUT = 3.0
"""Seconds in which the server must confirm that it has stopped an interrupted statement."""

_inherited: list[object] = []
"""Connections of the parent process, kept in a forked process: the collector would warn of them."""


class Pool:
    """Give connections to tasks, and take them back.

    A pool belongs to the event loop that opened it. In another loop, after the first has ended,
    the pool opens anew. A connection that is cut, interrupted, worn, or whose session may have been
    changed goes back to asyncpg's pool, which cleans or replaces it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._moving = PerLoop(asyncio.Lock)
        self._changed: WeakSet[Plain] = WeakSet()
        """Connections whose session may have been changed by a statement."""
        self._idle: deque[tuple[Wrapped, float]] = deque()
        """Clean connections with the time of their release, oldest first."""
        self._expiry: asyncio.TimerHandle | None = None
        self._closing = False
        self._waiting = 0
        """Tasks that wait for asyncpg's pool."""

    async def open(self) -> None:
        """Open the pool with one connection, or with as many as `min_size` asks for."""
        self._leave()
        options: dict[str, Any] = {"reset": self._reset, **self._settings.pool, "init": self._init}
        self._pool = await asyncpg.create_pool(**self._settings.connection, **options)
        self._loop = asyncio.get_running_loop()
        try:
            # Now, so that a wrong address is reported here and not at the first statement.
            connection = await self.take()
            await self._refuse_unknown_pooler(connection)
            await self.give_back(connection, clean=True)
        except BaseException:
            self._pool.terminate()
            self._forget()
            raise

    async def _refuse_unknown_pooler(self, connection: Wrapped) -> None:
        """Refuse a pooler that the URL does not name: programs could run each other's statements.

        Programs number their prepared statements alike, and the transactions of several programs
        share a connection of the server behind a pooler in transaction mode.
        """
        if self._settings.pgbouncer is not None:
            return
        # The name "" and the transaction make the question safe behind a pooler as well.
        async with connection.transaction():
            prepared = await connection.prepare("SELECT pg_backend_pid()", name="")
            pid: int = await prepared.fetchval()
        if pid != connection.get_server_pid():
            raise ConfigurationError(
                "a pooler stands between this program and PostgreSQL. Say in the database URL how "
                "it works: ?pgbouncer=true if a connection of the server is kept for a transaction "
                "(pool_mode = transaction), ?pgbouncer=false if it is kept for as long as the "
                "program is connected (pool_mode = session)"
            )

    async def _init(self, connection: Plain) -> None:
        keep_alive(connection)
        init: Init | None = self._settings.pool.get("init")
        if init is not None:
            await init(connection)

    async def _reset(self, connection: Plain) -> None:
        if connection in self._changed:
            self._changed.discard(connection)
            await connection.reset()

    def mark_changed(self, connection: Wrapped) -> None:
        """Reset a connection before another task gets it."""
        plain = _plain(connection)
        # Behind pgbouncer, a reset would reach any connection of the server.
        if plain is not None and not self._settings.pgbouncer:
            self._changed.add(plain)

    async def close(self) -> None:
        """Close every connection; wait a while for connections that tasks still use."""
        if asyncio.get_running_loop() is not self._loop:
            self._leave()
            return
        pool = self._required
        # From here on `give_back` keeps nothing: asyncpg's pool waits for every connection in use,
        # and idle ones count as in use.
        self._closing = True
        try:
            async with asyncio.timeout(self._settings.close_timeout):
                while self._idle:
                    connection, _ = self._idle.pop()
                    await self._release(connection)
                await pool.close()
        except Exception as error:  # noqa: BLE001 - a stop comes to its end in any case
            # asyncpg's pool has cut what was left. A host that vanished confirms nothing, and the
            # server may have ended a connection already.
            telemetry.emit(catalogue.ConnectionDiscarded(error=type(error).__name__))
        finally:
            # A cancelled close has left connections open.
            pool.terminate()
            self._forget()

    async def take(self) -> Wrapped:
        """Return a connection for a task; wait while all are in use.

        Raises:
            DatabaseUnavailable: if no connection becomes free in time.
            DatabaseError: if another event loop uses this pool.
        """
        if asyncio.get_running_loop() is not self._loop:
            await self.settle()
        while self._idle:
            connection, _ = self._idle.pop()
            plain = _plain(connection)
            if plain is None:
                continue
            if not plain.is_closed():
                return connection
            await self._release(connection)
        return await self._acquire()

    async def _acquire(self) -> Wrapped:
        pool = self._required
        self._waiting += 1
        limit = asyncio.timeout(self._settings.acquire_timeout)
        try:
            async with limit:
                return await pool.acquire()
        except TimeoutError:
            if limit.expired():
                seconds, most = self._settings.acquire_timeout, pool.get_max_size()
                raise DatabaseUnavailable(
                    f"no connection to PostgreSQL became free within {seconds:g} s: the pool has "
                    f"at most {most} (max_size). Raise max_size or acquire_timeout, or look for "
                    "tasks that keep transactions open"
                ) from None
            raise
        finally:
            self._waiting -= 1

    async def give_back(self, connection: Wrapped, *, clean: bool, is_silent: bool = False) -> None:
        """Keep a connection for the next task, or release it to asyncpg's pool.

        Args:
            connection: a connection of `take`.
            clean: whether its last statement has ended and its session is unchanged.
            is_silent: whether the server did not answer in time.
        """
        if not self._owns(connection):
            return
        if is_silent:
            self._end_idle()
        plain = _plain(connection)
        if plain is None:
            return
        # While tasks wait for asyncpg's pool, an idle connection here would be invisible to them.
        wanted = self._closing or self._waiting > 0
        if wanted or not clean or not self._is_usable(plain):
            await self._release(connection)
            return
        self._idle.append((connection, time.monotonic()))
        if self._expiry is None and self._settings.max_idle:
            self._plan_expiry(self._settings.max_idle)

    def _owns(self, connection: Wrapped) -> bool:
        # A task of a closed loop may be collected late, after this pool was opened in another.
        pool: object = cast(Any, connection)._holder._pool
        return pool is self._pool

    def _is_usable(self, connection: Plain) -> bool:
        if connection.is_closed() or connection.is_in_transaction():
            return False
        queries: int = cast(Any, connection)._protocol.queries_count
        return queries < self._settings.max_queries

    async def _release(self, connection: Wrapped) -> None:
        if self._pool is None:
            return
        try:
            await self._pool.release(connection, timeout=CLEANING_TIMEOUT)
        except Exception as error:  # noqa: BLE001 - no error here may take a statement back
            # Not raised: the statements of the task have succeeded, or failed with their own error.
            # asyncpg's pool has cut the connection.
            telemetry.emit(catalogue.ConnectionDiscarded(error=type(error).__name__))

    def _end_idle(self) -> None:
        """Cut every idle connection: a server that is silent on one is silent on all.

        Otherwise each of them would cost its next task a whole time limit.
        """
        while self._idle:
            connection, _ = self._idle.pop()
            _cut(connection)
        for holder in self._holders():
            if holder.is_idle():
                holder.terminate()

    # Unused connections

    def _plan_expiry(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._expiry = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        """Close the connections that nobody has used for too long."""
        self._expiry = None
        latest = time.monotonic() - self._settings.max_idle
        while self._idle and self._idle[0][1] <= latest:
            connection, _ = self._idle.popleft()
            _cut(connection)
        if self._idle:
            self._plan_expiry(max(self._idle[0][1] - latest, 0.001))

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    # Other event loops, and other processes

    @property
    def _required(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Return asyncpg's pool. Raises `DatabaseError` before `open`."""
        if self._pool is None:
            raise DatabaseError("the database is not connected")
        return self._pool

    async def settle(self) -> None:
        """Open the pool in the running event loop, if it was open in another loop."""
        async with self._moving.get():
            # Another task of this loop may have been here first.
            if self._loop is not None and asyncio.get_running_loop() is not self._loop:
                await self.open()

    def _leave(self) -> None:
        """Drop the connections of another event loop.

        Raises:
            DatabaseError: if that loop still uses them.
        """
        pool, loop = self._pool, self._loop
        if pool is not None and loop is not None:
            busy = sum(not holder.is_idle() for holder in self._holders()) > len(self._idle)
            refuse_to_leave(loop, busy=busy)
            if loop.is_closed():
                for connection in self._connections():
                    take_socket_away(connection)
            else:
                loop.call_soon_threadsafe(pool.terminate)
        self._forget()

    def abandon(self) -> None:
        """Forget the connections of the parent process."""
        for connection in self._connections():
            take_socket_away(connection)
        _inherited.extend((self._pool, self._loop, *self._idle))
        self._forget()

    def _forget(self) -> None:
        self._stop_expiry()
        self._pool = self._loop = None
        self._idle.clear()
        self._changed.clear()
        self._waiting = 0
        self._closing = False

    def _holders(self) -> list[Any]:
        return [] if self._pool is None else cast(Any, self._pool)._holders

    def _connections(self) -> Iterator[Plain]:
        return (holder._con for holder in self._holders() if holder._con is not None)


def _plain(connection: Wrapped) -> "Plain | None":
    """Return the connection inside asyncpg's wrapper; None if the server has cut it."""
    return cast("Plain | None", cast(Any, connection)._con)


def _cut(connection: Wrapped) -> None:
    plain = _plain(connection)
    # asyncpg's wrapper raises if the server was faster.
    if plain is not None:
        plain.terminate()
