"""Connect to SQLite through aiosqlite, with a write-ahead log and foreign keys."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Protocol, TypeVar, cast

from databases.backends import sqlite
from databases.core import DatabaseURL

from edgy_bus.database.backends.base import (
    CREATE_TABLES,
    Backend,
    RawRow,
    Result,
    Session,
    Translation,
)
from edgy_bus.database.backends.sqlite_connection import ThreadConnection
from edgy_bus.database.backends.sqlite_ddl import SQLiteDialect
from edgy_bus.database.backends.sqlite_pool import Home, Pool, primary_code
from edgy_bus.database.compiling import Arguments, Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError, DatabaseLocked, IntegrityError

T = TypeVar("T")

_HINTS = {
    "no such table": CREATE_TABLES,
    "unable to open database file": "does its folder exist, and may this program write there?",
}
"""What to do about some errors of SQLite, by a part of their texts."""


def _translate(error: Exception) -> DatabaseError | None:
    """Translate an error of SQLite; None for other errors."""
    # SQLite's texts name tables and columns, but contain no values, so they can be passed on.
    if isinstance(error, sqlite3.IntegrityError):
        return IntegrityError(f"SQLite refuses the row: {error}")
    if isinstance(error, sqlite3.OperationalError) and primary_code(error) in _LOCKED:
        return DatabaseLocked(f"SQLite: {error}")
    if isinstance(error, sqlite3.Error):
        hint = next((f": {what}" for text, what in _HINTS.items() if text in str(error)), "")
        return DatabaseError(f"SQLite: {error}{hint}")
    if isinstance(error, OverflowError):
        return DatabaseError(f"SQLite cannot store a value: {error}")
    return None


_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SQLiteBackend(Backend, sqlite.SQLiteBackend):
    """Connect `databases` to SQLite, with the pool and sessions of this module."""

    def __init__(self, url: DatabaseURL, *, target: Target, **options: object) -> None:
        self._database_url = url
        self._dialect = SQLiteDialect(paramstyle="qmark")
        # SQLAlchemy converts decimals, because aiosqlite cannot bind a Decimal.
        self._dialect.supports_native_decimal = False
        self.compiling_dialect = self._dialect
        self.translation = Translation(_translate)
        self._pool: Pool = Pool(target, options)

    async def connect(self) -> None:
        """Open a connection, so that an invalid path is reported here and not at first use."""
        home = self._pool.home
        self._pool.give_back(await self._pool.take(home), home)

    async def disconnect(self) -> None:
        """Close every connection that no task uses."""
        await self._pool.close()

    async def settle(self) -> None:
        """Move the connections to the running event loop."""
        _ = self._pool.home

    def abandon(self) -> None:
        """Forget every connection in a forked process."""
        self._pool.abandon()

    def connection(self) -> "SQLiteSession":
        """Return a session that holds no connection yet."""
        return SQLiteSession(self._pool, self._dialect)


_Fetched = tuple[list[str], list[RawRow], int]
"""Names of columns, rows, and the number of changed rows."""


class _Executing(Protocol):
    """Describe the private method of aiosqlite that runs a function in a connection's thread."""

    _conn: sqlite3.Connection

    async def _execute(self, function: Callable[..., T], *arguments: object) -> T: ...


def _fetch(connection: sqlite3.Connection, sql: str, arguments: Arguments) -> _Fetched:
    """Run a statement and fetch its rows."""
    # Runs in the connection's thread. aiosqlite's public interface would switch threads for the
    # statement, the rows and the close of the cursor: each switch costs more than a small query.
    with closing(connection.execute(sql, arguments)) as cursor:
        if cursor.description is None:
            return [], [], max(cursor.rowcount, 0)
        return [column[0] for column in cursor.description], cursor.fetchall(), 0


def _run_many(connection: sqlite3.Connection, sql: str, arguments: Sequence[Arguments]) -> None:
    connection.executemany(sql, arguments).close()


class SQLiteSession(Session, sqlite.SQLiteConnection):
    """Run statements on a task's connection to a SQLite file."""

    _pool: Pool
    _connection: ThreadConnection | None
    _home: Home | None = None
    _has_write_lock = False
    _is_readonly = False

    async def acquire(self) -> None:
        """Take a connection."""
        home = self._pool.home
        self._connection = await self._pool.take(home)
        self._home = home

    async def release(self) -> None:
        """Give the connection and the write lock back, if the session has any."""
        self._finish_writing()
        connection, home = self._detach()
        if connection is not None and home is not None:
            self._pool.give_back(connection, home)

    def discard(self) -> None:
        """Interrupt the connection; SQLite rolls its transaction back."""
        self._finish_writing()
        connection, home = self._detach()
        if connection is not None and home is not None:
            self._pool.discard(connection, home)

    def _detach(self) -> "tuple[ThreadConnection | None, Home | None]":
        connection, self._connection = self._connection, None
        return connection, self._home

    async def _begin_writing(self) -> None:
        """Wait for this process's turn to write."""
        # SQLite allows a single writer and lets the others poll for its lock, in no order: under
        # load, a task could starve. The queue of this lock is fair, and only processes poll.
        timeout = self._pool.lock_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._required_home.write_lock.acquire()
        except TimeoutError:
            raise DatabaseLocked(
                f"another transaction of this process has kept the database locked for {timeout:g}"
                " s; does it wait for a task that needs a transaction of its own?"
            ) from None
        self._has_write_lock = True

    def _finish_writing(self) -> None:
        if self._has_write_lock:
            self._has_write_lock = False
            self._required_home.write_lock.release()

    @property
    def _required_home(self) -> Home:
        if self._home is None:
            raise DatabaseError("this session has no connection")
        return self._home

    @property
    def _open(self) -> ThreadConnection:
        # The only connection of a database in memory moves to the next event loop, and a lost task
        # of the loop before must not end transactions there.
        if self._connection is None or not self._pool.is_at(self._home):
            raise sqlite3.OperationalError(
                "the connection was closed because an earlier statement was interrupted "
                "or its event loop ended"
            )
        return self._connection

    def _in_thread(self, function: Callable[..., T], *arguments: object) -> Awaitable[T]:
        """Call a function with SQLite's connection, in the thread of the connection."""
        connection = cast("_Executing", self._open)
        return connection._execute(function, connection._conn, *arguments)

    async def fetch(self, statement: Statement) -> Result:
        """Run a statement, and convert its rows to Python's types."""
        names, raw_rows, changed = await self._in_thread(_fetch, statement.sql, statement.arguments)
        rows = [statement.columns.row(names, values) for values in raw_rows]
        return Result(rows, len(rows) if names else changed)

    async def read(self, statement: Statement) -> Sequence[RawRow]:
        """Run a statement that returns rows, without conversion of their values."""
        _, rows, _ = await self._in_thread(_fetch, statement.sql, statement.arguments)
        return rows

    async def run_many(self, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run a statement once for each tuple of values."""
        await self._in_thread(_run_many, sql, arguments)

    async def issue(self, sql: str) -> None:
        """Run a statement of the library."""
        await self._open.execute_fetchall(sql)

    async def script(self, sql: str) -> None:
        """Run several statements of text; an open transaction stays open."""
        # The driver's executescript would commit the open transaction first. A piece between two
        # semicolons is a statement only if SQLite says so: text and triggers contain semicolons.
        pending = ""
        for piece in sql.split(";"):
            pending += f"{piece};"
            if sqlite3.complete_statement(pending):
                await self.issue(pending)
                pending = ""
        if pending.strip("; \n\t"):
            await self.issue(pending)

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        """Open a transaction, with the write lock unless `readonly`.

        Raises:
            DatabaseError: for an isolation level other than `serializable`, the only one of SQLite.
        """
        if isolation not in (None, "serializable"):
            raise DatabaseError(
                f"SQLite has no isolation level {isolation!r}: every transaction is "
                '"serializable"; leave `isolation` out'
            )
        # IMMEDIATE: after a plain BEGIN, a transaction that has read fails at its first write if
        # another connection wrote in between, and no waiting helps.
        if not readonly:
            await self._begin_writing()
            await self.issue("BEGIN IMMEDIATE")
            return
        await self.issue("BEGIN")
        self._is_readonly = True
        await self.issue("PRAGMA query_only = ON")

    async def commit(self) -> None:
        """Commit, and let the next task write."""
        await self.issue("COMMIT")
        await self._end()

    async def rollback(self) -> None:
        """Roll the open transaction back, and let the next task write."""
        await self.issue("ROLLBACK")
        await self._end()

    async def _end(self) -> None:
        if self._is_readonly:
            await self.issue("PRAGMA query_only = OFF")
            self._is_readonly = False
        self._finish_writing()
