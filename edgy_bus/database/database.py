"""Extend `databases.Database`: safe transactions, compiled statements and notifications."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar, cast

from databases import core
from sqlalchemy import Dialect, Executable

from edgy_bus.database import tables as ddl
from edgy_bus.database import url as urls
from edgy_bus.database.backends.base import Backend, RawRow, Result, Session
from edgy_bus.database.backends.postgres import PostgresBackend
from edgy_bus.database.compiling import Compiler, Parameters
from edgy_bus.database.connection import Callback, Connection, Transaction, refuse_inherited
from edgy_bus.database.existing import Existing, look
from edgy_bus.database.listening import Listener
from edgy_bus.errors import ConfigurationError, DatabaseError

T = TypeVar("T")

_DDL_LOCK = 0x6564_6779
"""Key of the PostgreSQL advisory lock for DDL: "edgy" in ASCII."""

_BACKENDS = {
    "sqlite": "edgy_bus.database.backends.sqlite:SQLiteBackend",
    "postgresql": "edgy_bus.database.backends.postgres:PostgresBackend",
}


class Database(core.Database):
    """Connect to a database, and give each task a connection.

    Args:
        url: `sqlite:///file`, `postgresql://…` or `postgres://…`. Options in the query: for SQLite
            `timeout` (seconds to wait for a lock, 30), `mode`, `immutable`, `vfs`; for PostgreSQL
            `schema` (created when missing), `min_size`, `max_size`, `ssl`, `timeout`,
            `command_timeout`, `application_name`.
        options: more arguments for the driver's pool (PostgreSQL) or connections (SQLite).

    Raises:
        ConfigurationError: for a URL or an option that is not supported.

    The methods of `databases` (`execute`, `fetch_all`, …) work too, in the same transaction as
    `run`. A task has one connection. A task that was started inside a transaction of another task
    would be outside that transaction, and gets a `DatabaseError`.
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
        """Return the SQLAlchemy dialect of the statements, named `sqlite` or `postgresql`."""
        return self._backend.compiling_dialect

    async def connect(self) -> None:
        """Open the first connection. Raises `DatabaseUnavailable` if no server answers."""
        with self._backend.translation:
            await super().connect()

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
            refuse_inherited(self)
            # No `Connection` here: outside a transaction, no later statement has to find the same
            # connection again, and a session alone is cheaper.
            session = self._backend.connection()
            await session.acquire()
            try:
                return await use(session)
            finally:
                await session.release()

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """Return a transaction of the current task, or a savepoint inside an open transaction.

        Args:
            force_rollback: roll back at the end in any case.
            options: `isolation`, the isolation level on PostgreSQL, for example `"serializable"`;
                and `readonly`, which refuses writes on PostgreSQL.

        On SQLite the transaction takes the write lock when it begins, unless `readonly`: no other
        transaction can change rows between a read and a later write. The connection is given back
        no matter how the transaction ends.
        """
        return Transaction(self.connection, force_rollback, **options)

    @property
    def in_transaction(self) -> bool:
        """Return whether the current task has an open transaction."""
        connection = self._current
        return connection is not None and bool(connection.open_transactions)

    def on_commit(self, callback: Callback) -> None:
        """Run `callback`, sync or async, after the current task's outermost transaction commits.

        The callback is dropped if that transaction, or the innermost open savepoint, rolls back.

        Raises:
            DatabaseError: outside a transaction.
        """
        connection = self._current
        if connection is None or not connection.open_transactions:
            raise DatabaseError(
                "on_commit() needs an open transaction: use it inside "
                "`async with database.transaction():`"
            )
        connection.open_transactions[-1].callbacks.append(callback)

    async def run(self, statement: Executable, parameters: Parameters | None = None) -> Result:
        """Run a SQLAlchemy statement on the task's connection.

        Args:
            statement: a statement; its compiled form is kept for later statements of this shape.
            parameters: values for named binds, or for columns of an INSERT or UPDATE.

        Returns:
            Rows as dicts of Python values, and the number of rows returned or changed.
        """
        prepared = self._compiler.prepare(statement, parameters)
        return await self._on_session(lambda session: session.fetch(prepared))

    async def read(
        self, statement: Executable, parameters: Parameters | None = None
    ) -> Sequence[RawRow]:
        """Run a statement that returns many rows, and return each row as the driver built it.

        The values are in the order of the columns and not converted to Python's types: use `read`
        for columns of numbers and text only.
        """
        prepared = self._compiler.prepare(statement, parameters)
        return await self._on_session(lambda session: session.read(prepared))

    async def run_many(self, statement: Executable, parameters: Sequence[Parameters]) -> None:
        """Run a statement once for each mapping, in a transaction.

        All mappings must have the same names.
        """
        if not parameters:
            return
        sql, arguments = self._compiler.prepare_many(statement, parameters)
        with self._backend.translation:
            async with self.transaction():
                await self.connection().session.run_many(sql, arguments)

    async def script(self, sql: str) -> None:
        """Run several SQL statements of text, in the open transaction if there is any."""
        await self._on_session(lambda session: session.script(sql))

    async def create_tables(self, tables: ddl.Tables) -> None:
        """Create missing tables and indexes. Several processes can do this at the same time.

        If nothing is missing, the call takes no lock and needs no right to create.
        """
        if await self._missing(tables):
            async with self.defining() as issue:
                for statement in await self._missing(tables):
                    await issue(statement)

    async def drop_tables(self, tables: ddl.Tables) -> None:
        """Drop the tables that exist."""
        async with self.defining() as issue:
            for statement in ddl.removal(tables, self.dialect):
                await issue(statement)

    async def _missing(self, tables: ddl.Tables) -> list[str]:
        return ddl.missing(tables, await self.existing(tables), self.dialect)

    async def existing(self, tables: ddl.Tables) -> Existing:
        """Return the existing columns and indexes of these tables."""
        names, indexes = ddl.names_of(tables, self.dialect)
        dialect = self.dialect.name
        return await self._on_session(lambda session: look(session.fetch, dialect, names, indexes))

    @asynccontextmanager
    async def defining(self) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
        """Open a transaction that creates, changes or drops tables; the value runs a statement.

        Only one process at a time can be inside.
        """
        # Read committed: inside, a query must see the tables that the previous process created.
        with self._backend.translation:
            async with self.transaction(isolation="read committed"):
                session = self.connection().session
                if self._kind == "postgresql":
                    # Two processes that start together would both find a table missing. CREATE
                    # TABLE IF NOT EXISTS does not lock, and the second process would fail on a
                    # catalogue constraint. On SQLite the transaction holds the write lock already.
                    await session.issue(f"SELECT pg_advisory_xact_lock({_DDL_LOCK})")
                yield session.issue

    @property
    def can_notify(self) -> bool:
        """Return whether `notify` reaches `listen` in other processes."""
        return isinstance(self._backend, PostgresBackend)

    async def notify(self, channel: str) -> None:
        """Wake the listeners of `channel` in all processes. Does nothing on SQLite.

        Raises:
            DatabaseError: if the notification cannot be sent.
        """
        # On a connection outside any transaction: inside, PostgreSQL would hold the notification
        # back until the commit, and take a global lock during every commit that notifies.
        if isinstance(self._backend, PostgresBackend):
            with self._backend.translation:
                await self._backend.notify(channel)

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[], None]) -> AsyncIterator[None]:
        """Call `callback` at every notification of `channel` while the context is open.

        Uses an additional connection. A lost connection is opened again in the background, and
        `callback` is called then too, because a notification may have been missed. Does nothing on
        SQLite.
        """
        if not isinstance(self._backend, PostgresBackend):
            yield
            return
        listener = Listener(self._backend.connect_arguments(), channel, callback)
        await listener.start()
        try:
            # After the first attempt: a notification sent inside the block reaches the callback,
            # unless the database is away, which must not keep the caller from starting.
            await listener.tried.wait()
            yield
        finally:
            await listener.stop()
