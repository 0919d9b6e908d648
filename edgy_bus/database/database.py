"""Extend `databases.Database`: safe transactions, compiled statements and notifications."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, TypeVar

from sqlalchemy import Executable

from edgy_bus.database import definition_lock
from edgy_bus.database import tables as ddl
from edgy_bus.database.attempts import Attempt, attempts
from edgy_bus.database.backends.base import RawRow, Result
from edgy_bus.database.backends.postgres import PostgresBackend
from edgy_bus.database.compiling import Parameters
from edgy_bus.database.connecting import ConnectingDatabase
from edgy_bus.database.connection import Callback, Transaction, Undo, innermost
from edgy_bus.database.existing import Existing, look
from edgy_bus.database.listening import Listener
from edgy_bus.errors import DatabaseError

T = TypeVar("T")

Issue = Callable[[str], Awaitable[None]]
"""Runs a statement of text that changes tables."""


class Database(ConnectingDatabase):
    """Connect to a database, and give each task a connection.

    Args:
        url: `sqlite:///file`, `postgresql://…` or `postgres://…`. Options in the query: for SQLite
            `timeout` (seconds to wait for a lock, 30), `mode`, `immutable`, `vfs`; for PostgreSQL
            `schema` (created when missing), `min_size`, `max_size`, `ssl`, `application_name`,
            `pgbouncer` (true behind a pgbouncer in transaction mode), and the limits in seconds:
            `timeout` (a new connection, 10), `command_timeout` (a statement, 30), `acquire_timeout`
            (the wait for a free connection, 30), `close_timeout` (`disconnect`, 10),
            `max_inactive_connection_lifetime` (an unused connection, 300); `none` stands for no
            limit of a statement, a wait or `disconnect`.
        options: the same but `schema`, `mode`, `immutable` and `vfs`, which only the URL can have,
            and more arguments for the driver's pool (PostgreSQL) or connections (SQLite).

    Raises:
        ConfigurationError: for a URL or an option that is not supported.

    The methods of `databases` (`execute`, `fetch_all`, …) work too, in the same transaction as
    `run`. A task has one connection. A task that was started inside a transaction of another task
    would be outside that transaction, and gets a `DatabaseError`.

    A database belongs to one event loop at a time. After that loop was closed, or the database was
    disconnected, another loop can use it. A forked process must call `connect` again.
    """

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> Transaction:
        """Return a transaction of the current task, or a savepoint inside an open transaction.

        Args:
            force_rollback: roll back at the end in any case.
            options: `isolation`, the isolation level, for example `"serializable"` (SQLite has this
                level only); `readonly`, which refuses writes; `command_timeout`, the seconds that
                a statement of models, `run` or `read` may take in this transaction on PostgreSQL
                (the methods of `databases` have the limit of the URL). Isolation and `readonly`
                belong to the outermost transaction, and are refused inside an open transaction.

        On SQLite the transaction takes the write lock when it begins, unless `readonly`: no other
        transaction can change rows between a read and a later write. The connection is given back
        no matter how the transaction ends.
        """
        return Transaction(self.connection, force_rollback, **options)

    def attempts(self, limit: int = 5, **options: Any) -> AsyncIterator[Attempt]:
        """Repeat a transaction that another transaction defeats (`TryAgain`).

            async for attempt in database.attempts(isolation="serializable"):
                async with attempt:
                    ...

        The block runs in a transaction. After a serialization failure, a deadlock or a lock that
        another transaction kept, the transaction is rolled back, and the block runs again after a
        short pause, at most `limit` times; the last error is raised. Only the database is rolled
        back: keep other effects out of the block, or in `on_commit`. An error of such an effect
        after the commit repeats nothing. Nor is a transaction repeated that could not begin: on
        SQLite it waits for the write lock (`timeout`) when it begins.

        Args:
            limit: the number of attempts.
            options: the options of `transaction`.

        Raises:
            DatabaseError: inside an open transaction, which must be repeated as a whole.
        """
        if self.in_transaction:
            raise DatabaseError(
                "attempts() inside an open transaction: only the outermost transaction can be "
                "repeated"
            )
        return attempts(lambda: self.transaction(**options), limit)

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
        innermost(self._current, "on_commit").callbacks.append(callback)

    def on_rollback(self, callback: Undo) -> None:
        """Run `callback`, which is sync and never raises, if the work done so far is rolled back.

        The callback belongs to the innermost open transaction or savepoint of the current task,
        and runs if this transaction or an enclosing transaction rolls back, also after a commit
        that failed. The callback that was registered last runs first.

        Raises:
            DatabaseError: outside a transaction.
        """
        innermost(self._current, "on_rollback").undos.append(callback)

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

        Raises:
            DatabaseLocked: if other transactions, or a process that changes tables, do not end.
        """

        async def create(issue: Issue) -> None:
            for statement in await _missing(self, tables):
                await issue(statement)

        if await _missing(self, tables):
            await self.define(create)

    async def drop_tables(self, tables: ddl.Tables) -> None:
        """Drop the tables that exist.

        Raises:
            DatabaseLocked: as `create_tables`.
        """

        async def drop(issue: Issue) -> None:
            if self._kind == "sqlite":
                # SQLite deletes the rows of a table first. Rows that refer to each other would
                # refuse that until all of them are gone.
                await issue("PRAGMA defer_foreign_keys = ON")
            for statement in ddl.removal(tables, self.dialect):
                await issue(statement)

        await self.define(drop)

    async def define(self, change: Callable[[Issue], Awaitable[T]], tables: str = "tables") -> T:
        """Create, change or drop tables, in several attempts if transactions lock them.

        Args:
            change: called in the transaction of `defining`; gets a function that runs a statement.
            tables: names the tables in an error.

        Raises:
            DatabaseLocked: if the tables stay locked, or if another process changes tables.
        """

        async def once() -> T:
            async with self.defining() as issue:
                return await change(issue)

        # On SQLite, the wait for the write lock was long enough.
        if self._kind == "sqlite":
            return await once()
        return await definition_lock.in_attempts(once, tables)

    async def existing(self, tables: ddl.Tables) -> Existing:
        """Return the existing columns and indexes of these tables."""
        names, indexes = ddl.names_of(tables, self.dialect)
        dialect = self.dialect.name
        return await self._on_session(lambda session: look(session.fetch, dialect, names, indexes))

    @asynccontextmanager
    async def defining(self) -> AsyncIterator[Issue]:
        """Open a transaction that creates, changes or drops tables; the value runs a statement.

        Only one process at a time can be inside. On PostgreSQL a statement may take ten minutes
        here, or `command_timeout` if that is longer, but waits for the lock of a table only a
        second: `define` repeats the transaction.

        Raises:
            DefinitionLocked: if another process is inside for too long; names its session.
            DatabaseLocked: if another transaction keeps a table locked.
        """
        is_postgresql = self._kind == "postgresql"
        # Inside, a query must see the tables that the previous process created, which a stricter
        # default of the server would hide. An open transaction keeps the isolation that it has.
        isolation = "read committed" if is_postgresql and not self.in_transaction else None
        limit = self._backend.definition_timeout
        with self._backend.translation:
            async with self.transaction(isolation=isolation, command_timeout=limit):
                session = self.connection().session
                # On SQLite the transaction holds the write lock already.
                alone = definition_lock.defining(session) if is_postgresql else nullcontext()
                async with alone:
                    yield session.issue

    @property
    def max_connections(self) -> int | None:
        """Return how many connections may be open at the same time; None without a limit."""
        backend = self._backend
        return backend.max_connections if isinstance(backend, PostgresBackend) else None

    @property
    def can_notify(self) -> bool:
        """Return whether `notify` reaches `listen` in other processes.

        Only on PostgreSQL, and not behind pgbouncer, which keeps no LISTEN.
        """
        return isinstance(self._backend, PostgresBackend) and not self._backend.uses_pgbouncer

    async def notify(self, channel: str) -> None:
        """Wake the listeners of `channel` in all processes. Does nothing where `can_notify` is
        false.

        Raises:
            DatabaseError: if the notification cannot be sent.
        """
        # On a connection outside any transaction: inside, PostgreSQL would hold the notification
        # back until the commit, and take a global lock during every commit that notifies.
        if isinstance(self._backend, PostgresBackend) and self.can_notify:
            with self._backend.translation:
                await self._backend.notify(channel)

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[], None]) -> AsyncIterator[None]:
        """Call `callback` at every notification of `channel` while the context is open.

        Uses an additional connection. A lost connection is opened again in the background, and
        `callback` is called then too, because a notification may have been missed. Does nothing
        where `can_notify` is false.
        """
        if not isinstance(self._backend, PostgresBackend) or not self.can_notify:
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


async def _missing(database: Database, tables: ddl.Tables) -> list[str]:
    """Return the statements that create what is missing."""
    return ddl.missing(tables, await database.existing(tables), database.dialect)
