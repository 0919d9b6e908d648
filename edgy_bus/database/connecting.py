"""Connect to a database, and find the connection of the current task."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar, cast

from databases import core
from sqlalchemy import Dialect

from edgy_bus.database import url as urls
from edgy_bus.database.backends.base import Backend, Session, on_session
from edgy_bus.database.compiling import Compiler
from edgy_bus.database.connection import Connection, inherited
from edgy_bus.database.home import FORKED, settle
from edgy_bus.database.quiet import silence_values
from edgy_bus.database.sharing import SharedTransaction, sharing
from edgy_bus.errors import ConfigurationError, DatabaseError
from edgy_bus.services import PerLoop

T = TypeVar("T")

_BACKENDS = {
    "sqlite": "edgy_bus.database.backends.sqlite:SQLiteBackend",
    "postgresql": "edgy_bus.database.backends.postgres:PostgresBackend",
}


class ConnectingDatabase(core.Database):
    """Extend `databases.Database` by safe connections; see `Database`."""

    def __init__(self, url: str, **options: Any) -> None:
        if "force_rollback" in options:
            raise ConfigurationError(
                "Database() has no force_rollback: use `database.transaction(force_rollback=True)`"
            )
        silence_values()
        target = urls.parse(str(url))
        self._kind = target.kind
        super().__init__(str(url), target=target, **options)
        self._backend: Backend
        self._compiler = Compiler(self._backend.compiling_dialect)
        self._is_inherited = False
        """Whether this process was forked from the process that connected."""
        self._connecting = PerLoop(asyncio.Lock)
        self._shared: SharedTransaction | None = None
        """The transaction in which all tasks work, during a test."""

    def _get_backend(self) -> str:
        return _BACKENDS[self._kind]

    @property
    def dialect(self) -> Dialect:
        """Return the SQLAlchemy dialect of the statements, named `sqlite` or `postgresql`."""
        return self._backend.compiling_dialect

    def __repr__(self) -> str:
        return f"<Database {self._kind}>"

    async def connect(self) -> None:
        """Open the first connection; do nothing if the database is connected.

        Raises:
            DatabaseUnavailable: if no server answers.
            DatabaseError: if another event loop still uses the database.
        """
        # Of two tasks, the second waits for the first: both would open a pool otherwise.
        with self._backend.translation:
            async with self._connecting.get():
                await self._backend.settle()
                await super().connect()
        self._is_inherited = False
        settle(self)

    async def disconnect(self) -> None:
        """Close the connections; wait a while for those that tasks still use."""
        async with self._connecting.get():
            try:
                await super().disconnect()
            except asyncio.CancelledError:
                # The backend has dropped its connections: the database can be connected again.
                self.is_connected = False
                raise

    def abandon(self) -> None:
        """Forget every connection in a forked process. Called by this package."""
        if not self.is_connected:
            return
        self.is_connected = False
        self._is_inherited = True
        for connection in self._connection_map.values():
            cast(Connection, connection).abandon()
        self._connection_map.clear()
        self._backend.abandon()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    def connection(self) -> Connection:
        """Return the current task's connection; `async with` keeps the connection for a block.

        Raises:
            DatabaseError: before `connect`, and in a task that was started inside a transaction of
                another task.
        """
        self._require_connected()
        connection = self._current
        if connection is None:
            connection = Connection(self, self._backend, self._new_session())
            self._connection = connection
        return connection

    def _new_session(self) -> Session:
        """Return a session for the current task."""
        joined = inherited(self) or self._shared
        return self._backend.connection() if joined is None else joined.join()

    @property
    def is_rolled_back(self) -> bool:
        """Return whether a `rolled_back()` block is open."""
        return self._shared is not None

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[None]:
        """Take back, at the end, what any task has written inside of the block: for tests.

        All tasks work in one transaction, one after another, no matter where they were started. A
        transaction of a task is a savepoint. What other programs have written meanwhile stays.

        Raises:
            DatabaseError: before `connect`, and inside of another such block.
        """
        self._require_connected()
        if self._shared is not None:
            raise DatabaseError("this database is inside of a `rolled_back()` block already")
        backend = self._backend
        async with sharing(backend.connection(), backend.translation) as shared:
            self._shared = shared
            try:
                yield
            finally:
                self._shared = None

    @property
    def _current(self) -> Connection | None:
        task = asyncio.current_task()
        return None if task is None else cast("Connection | None", self._connection_map.get(task))

    def _require_connected(self) -> None:
        if not self.is_connected:
            if self._is_inherited:
                raise DatabaseError(FORKED)
            raise DatabaseError(
                "the database is not connected: use `async with database:` or "
                "`await database.connect()` first"
            )

    async def _on_session(self, use: Callable[[Session], Awaitable[T]]) -> T:
        """Call `use` with the session of the task's connection, or with a session for this call."""
        self._require_connected()
        with self._backend.translation:
            connection = self._current
            if connection is not None:
                async with connection:
                    return await use(connection.session)
            joined = inherited(self) or self._shared
            # No `Connection` here: outside a transaction, no later statement has to find the same
            # connection again, and a session alone is cheaper.
            if joined is None:
                return await self._backend.on_session(use)
            return await on_session(joined.join(), use)
