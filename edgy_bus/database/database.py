"""`Database`: `databases.Database` with transactions that do not leak, compiled statements, and what an outbox needs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar, cast

from databases import core
from sqlalchemy import Dialect, Executable

from edgy_bus.database import tables as ddl
from edgy_bus.database import url as urls
from edgy_bus.database.backends.base import Backend, Result, Session
from edgy_bus.database.backends.postgres import PostgresBackend
from edgy_bus.database.compiling import Compiler
from edgy_bus.database.connection import Callback, Connection, Transaction, refuse_inherited
from edgy_bus.database.existing import Existing, look
from edgy_bus.database.listening import Listener
from edgy_bus.errors import ConfigurationError, DatabaseError

T = TypeVar("T")

_DDL_LOCK = (
    0x6564_6779  # "edgy": one process at a time creates or drops tables in a PostgreSQL database
)

_BACKENDS = {
    "sqlite": "edgy_bus.database.backends.sqlite:SQLiteBackend",
    "postgresql": "edgy_bus.database.backends.postgres:PostgresBackend",
}


class Database(core.Database):
    """A database, and each task's connection to it.

    Args:
        url: `sqlite:///file`, `postgresql://…` or `postgres://…`. Options in its query: for SQLite `timeout` (seconds to wait
            for a lock, 30), `mode`, `immutable`, `vfs`; for PostgreSQL `schema` (created when missing), `min_size`,
            `max_size`, `ssl`, `timeout`, `command_timeout`, `application_name`.
        options: more arguments for the driver's pool (PostgreSQL) or connections (SQLite).

    Raises:
        ConfigurationError: for a URL it cannot use.

    All of `databases` works on it (`execute`, `fetch_all`, …), in the same transaction as `run` when one is open. A task has
    one connection. A task that is started inside a transaction would be outside of it, so it gets a `DatabaseError`.
    """

    def __init__(self, url: str, **options: Any) -> None:
        if "force_rollback" in options:
            raise ConfigurationError(
                "Database() has no force_rollback: use `database.transaction(force_rollback=True)`"
            )
        target = urls.parse(str(url))
        self._kind = target.kind
        super().__init__(str(url), target=target, **options)
        self._backend: Backend
        self._compiler = Compiler(self._backend.compiling_dialect)

    def _get_backend(self) -> str:
        return _BACKENDS[self._kind]

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect that statements are compiled with; its name is `sqlite` or `postgresql`."""
        return self._backend.compiling_dialect

    async def connect(self) -> None:
        """Open the first connection. Raises `DatabaseUnavailable` when the database does not answer."""
        with self._backend.translation:
            await super().connect()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    def connection(self) -> Connection:
        """The current task's connection; `async with` holds it. Raises `DatabaseError` when the database is not connected."""
        self._require_connected()
        connection = self._current
        if connection is None:
            refuse_inherited(self)
            self._connection = connection = Connection(self, self._backend)
        return connection

    @property
    def _current(self) -> Connection | None:
        task = asyncio.current_task()
        return None if task is None else cast("Connection | None", self._connection_map.get(task))

    def _require_connected(self) -> None:
        if not self.is_connected:
            raise DatabaseError(
                "the database is not connected: use `async with database:` or `await database.connect()` first"
            )

    async def _on_session(self, use: Callable[[Session], Awaitable[T]]) -> T:
        """Use the session of the task's connection. Where it has none, nobody needs to find one again: a session alone costs less."""
        self._require_connected()
        with self._backend.translation:
            connection = self._current
            if connection is not None:
                async with connection:
                    return await use(connection.session)
            refuse_inherited(self)
            session = self._backend.connection()
            await session.acquire()
            try:
                return await use(session)
            finally:
                await session.release()

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """A transaction of the current task, or a savepoint inside the one that is open.

        Args:
            force_rollback: roll back at the end in any case.
            options: `isolation` (PostgreSQL: `"serializable"`, …) and `readonly`.

        On SQLite it takes the write lock at once (unless `readonly`), so that what it has read cannot be changed before it
        writes. However it ends, the connection is given back.
        """
        return Transaction(self.connection, force_rollback, **options)

    @property
    def in_transaction(self) -> bool:
        """Whether the current task has a transaction open."""
        connection = self._current
        return connection is not None and bool(connection.open_transactions)

    def on_commit(self, callback: Callback) -> None:
        """Run `callback`, sync or async, once the outermost transaction of the current task has committed.

        It is dropped when that transaction, or the savepoint open now, rolls back. Raises `DatabaseError` outside of a
        transaction.
        """
        connection = self._current
        if connection is None or not connection.open_transactions:
            raise DatabaseError(
                "on_commit() needs an open transaction: use it inside `async with database.transaction():`"
            )
        connection.open_transactions[-1].callbacks.append(callback)

    async def run(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Result:
        """Run a SQLAlchemy statement on the task's connection.

        Args:
            statement: its compiled form is kept for the next statement of the same shape.
            parameters: values for named binds, or for columns of an INSERT or UPDATE.

        Returns:
            Rows as dicts of Python values, and the number of rows returned or changed.
        """
        prepared = self._compiler.prepare(statement, parameters)
        return await self._on_session(lambda session: session.fetch(prepared))

    async def read(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        """Run a statement that returns rows, many of them perhaps: each as the driver made it, in the order of its columns.

        Nothing turns their values into Python's: for columns of numbers and text only.
        """
        prepared = self._compiler.prepare(statement, parameters)
        return await self._on_session(lambda session: session.read(prepared))

    async def run_many(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]]
    ) -> None:
        """Run a statement once for each mapping; all or none take effect. The mappings have the same names."""
        if not parameters:
            return
        sql, arguments = self._compiler.prepare_many(statement, parameters)
        with self._backend.translation:
            async with self.transaction():
                await self.connection().session.run_many(sql, arguments)

    async def script(self, sql: str) -> None:
        """Run several SQL statements of text, in the open transaction if there is one."""
        await self._on_session(lambda session: session.script(sql))

    async def create_tables(self, tables: ddl.Tables) -> None:
        """Create the tables and indexes that are missing. Several processes may do so at once.

        Where nothing is missing, no lock is taken and no right is needed.
        """
        if await self._missing(tables):
            async with self.defining() as issue:
                for statement in await self._missing(tables):
                    await issue(statement)

    async def drop_tables(self, tables: ddl.Tables) -> None:
        """Drop these tables, where they exist."""
        async with self.defining() as issue:
            for statement in ddl.removal(tables, self.dialect):
                await issue(statement)

    async def _missing(self, tables: ddl.Tables) -> list[str]:
        return ddl.missing(tables, await self.existing(tables), self.dialect)

    async def existing(self, tables: ddl.Tables) -> Existing:
        """Return what the database has of these tables, their columns and their indexes."""
        names, indexes = ddl.names_of(tables, self.dialect)
        dialect = self.dialect.name
        return await self._on_session(lambda session: look(session.fetch, dialect, names, indexes))

    @asynccontextmanager
    async def defining(self) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
        """Open a transaction that creates, changes or drops tables; the value runs a statement.

        One process at a time is inside.
        """
        # Read committed: a look inside must see what the process before has created.
        with self._backend.translation:
            async with self.transaction(isolation="read committed"):
                session = self.connection().session
                if self._kind == "postgresql":
                    await session.issue(f"SELECT pg_advisory_xact_lock({_DDL_LOCK})")
                yield session.issue

    @property
    def can_notify(self) -> bool:
        """Whether `notify` reaches `listen` in other processes."""
        return isinstance(self._backend, PostgresBackend)

    async def notify(self, channel: str) -> None:
        """Wake whoever listens to `channel`, at once and outside of any transaction. Does nothing on SQLite.

        Raises `DatabaseError`, for example `DatabaseUnavailable`.
        """
        if isinstance(self._backend, PostgresBackend):
            with self._backend.translation:
                await self._backend.notify(channel)

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[], None]) -> AsyncIterator[None]:
        """While the context is open, call `callback` at every notification of `channel`, on a connection of its own.

        A lost connection is opened again in the background, and `callback` is called then too, because a notification may
        have been missed. On SQLite nothing is ever called.
        """
        if not isinstance(self._backend, PostgresBackend):
            yield
            return
        listener = Listener(self._backend.connect_arguments(), channel, callback)
        await listener.start()
        try:
            await listener.tried.wait()
            yield
        finally:
            await listener.stop()
