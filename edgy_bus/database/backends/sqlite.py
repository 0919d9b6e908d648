"""SQLite through aiosqlite: write-ahead log, foreign keys, and connections that are kept for the next operation."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any
from urllib.parse import quote, urlencode

import aiosqlite
from databases.backends import sqlite
from databases.core import DatabaseURL
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from edgy_bus.database.backends.base import Backend, Result, Session, Translation
from edgy_bus.database.compiling import Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError, DatabaseUnavailable, IntegrityError

KEPT_OPEN = 4
"""Idle connections that stay open; each is a thread."""

_MEMORY = ("", ":memory:")
_POLL = 0.01
_FAREWELL = 5.0
"""Seconds that closing waits for connections that were discarded while they were busy."""


class _Pool(sqlite.SQLitePool):
    """Hands connections out and keeps some of those that come back.

    A database in memory exists once per connection, so it has one connection, for which tasks wait in turn.
    """

    def __init__(self, target: Target, options: dict[str, Any]) -> None:
        self._target = target
        self._options = {**target.options, **options}
        self._in_memory = DatabaseURL(target.address).database in _MEMORY
        self._turn = asyncio.Semaphore(1)
        self.writing = asyncio.Lock()
        self.patience: float = self._options["timeout"]
        self._idle: list[aiosqlite.Connection] = []
        self._ending: set[asyncio.Future[Any]] = set()
        self._memref = None

    async def acquire(self) -> aiosqlite.Connection:
        if self._in_memory:
            await self._turn.acquire()
        if self._idle:
            return self._idle.pop()
        try:
            return await self._open()
        except BaseException:
            self._pass_on()
            raise

    async def _open(self) -> aiosqlite.Connection:
        name, uri = self._file()
        connection = aiosqlite.connect(name, isolation_level=None, uri=uri, **self._options)
        # A process that never disconnected can exit.
        connection._thread.daemon = True
        try:
            await connection
            await connection.execute_fetchall("PRAGMA foreign_keys = ON")
            if "mode" not in self._target.uri and "immutable" not in self._target.uri:
                await self._write_ahead(connection)
        except BaseException:
            connection.stop()
            await asyncio.to_thread(connection._thread.join)
            raise
        return connection

    async def _write_ahead(self, connection: aiosqlite.Connection) -> None:
        """Change the file to the write-ahead log. SQLite does not wait for the lock that this takes, once for a file."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL)

    def _file(self) -> tuple[str, bool]:
        name = DatabaseURL(self._target.address).database
        if not self._target.uri:
            return name, False
        return f"file:{quote(name)}?{urlencode(self._target.uri)}", True

    async def release(self, connection: aiosqlite.Connection) -> None:
        """Keep or close a connection. Does not wait, so it cannot be cancelled half way."""
        if len(self._idle) < KEPT_OPEN:
            self._idle.append(connection)
            self._pass_on()
        else:
            self.discard(connection)

    def discard(self, connection: aiosqlite.Connection) -> None:
        """Close a connection whose thread may be busy: what it does is interrupted, and SQLite rolls back what is open."""
        with suppress(ValueError):  # closed already
            connection._conn.interrupt()
        ended = connection.stop()
        if ended is not None:
            self._ending.add(ended)
            ended.add_done_callback(self._ending.discard)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._in_memory:
            self._turn.release()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        if self._ending:
            # Their threads report to the event loop, which may be gone afterwards.
            await asyncio.wait(self._ending, timeout=_FAREWELL)


def _translated(error: Exception) -> DatabaseError | None:
    """SQLite's texts name tables and columns, but no values."""
    if isinstance(error, sqlite3.IntegrityError):
        return IntegrityError(f"SQLite refuses the row: {error}")
    if isinstance(error, sqlite3.OperationalError) and _code(error) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    ):
        return DatabaseUnavailable(f"SQLite: {error}")
    if isinstance(error, sqlite3.Error):
        return DatabaseError(f"SQLite: {error}")
    return (
        DatabaseError(f"SQLite cannot store a value: {error}")
        if isinstance(error, OverflowError)
        else None
    )


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for an error of the module itself, which has none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SQLiteBackend(Backend, sqlite.SQLiteBackend):
    """SQLite for `databases`, with our pool and sessions."""

    def __init__(self, url: DatabaseURL, *, target: Target, **options: Any) -> None:
        self._database_url = url
        self._dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
        # aiosqlite does not support decimals
        self._dialect.supports_native_decimal = False
        self.compiling_dialect = self._dialect
        self.translation = Translation(_translated)
        self._pool: _Pool = _Pool(target, options)

    async def connect(self) -> None:
        """Open one connection, so that a path that cannot be opened is noticed here."""
        await self._pool.release(await self._pool.acquire())

    async def disconnect(self) -> None:
        await self._pool.close()

    def connection(self) -> "SQLiteSession":
        return SQLiteSession(self._pool, self._dialect)


def _fetch(
    connection: sqlite3.Connection, sql: str, arguments: Sequence[Any]
) -> tuple[list[str], list[Any], int]:
    """Names of columns, rows, and the number of rows changed; in the connection's thread, because every visit there costs."""
    with closing(connection.execute(sql, arguments)) as cursor:
        if cursor.description is None:
            return [], [], max(cursor.rowcount, 0)
        return [column[0] for column in cursor.description], cursor.fetchall(), 0


def _run_many(connection: sqlite3.Connection, sql: str, arguments: Sequence[Sequence[Any]]) -> None:
    connection.executemany(sql, arguments).close()


class SQLiteSession(Session, sqlite.SQLiteConnection):
    """One task's connection to a SQLite file."""

    _pool: _Pool
    _writes = False

    async def release(self) -> None:
        self._finish_writing()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    def discard(self) -> None:
        self._finish_writing()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.discard(connection)

    async def _begin_writing(self) -> None:
        """Wait for this process's turn to write.

        SQLite lets one connection write and makes the others poll for the lock, in no order. A queue in front of it is fair, and
        leaves the polling to other processes.
        """
        try:
            async with asyncio.timeout(self._pool.patience):
                await self._pool.writing.acquire()
        except TimeoutError:
            raise DatabaseError(
                f"another transaction of this process has kept the database locked for {self._pool.patience:g} s; does it wait "
                "for a task that needs a transaction of its own?"
            ) from None
        self._writes = True

    def _finish_writing(self) -> None:
        if self._writes:
            self._writes = False
            self._pool.writing.release()

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError(
                "the connection was closed because an earlier statement was interrupted"
            )
        return self._connection

    async def fetch(self, statement: Statement) -> Result:
        connection: Any = self._open
        names, found, changed = await connection._execute(
            _fetch, connection._conn, statement.sql, statement.arguments
        )
        rows = [statement.columns.row(names, values) for values in found]
        return Result(rows, len(rows) if names else changed)

    async def read(self, statement: Statement) -> Sequence[Sequence[Any]]:
        connection: Any = self._open
        _, found, _ = await connection._execute(
            _fetch, connection._conn, statement.sql, statement.arguments
        )
        rows: Sequence[Sequence[Any]] = found
        return rows

    async def run_many(self, sql: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        connection: Any = self._open
        await connection._execute(_run_many, connection._conn, sql, arguments)

    async def issue(self, sql: str) -> None:
        await self._open.execute_fetchall(sql)

    async def script(self, sql: str) -> None:
        # The driver's executescript would commit the open transaction first.
        pending = ""
        for piece in sql.split(";"):
            pending += f"{piece};"
            if sqlite3.complete_statement(pending):
                await self.issue(pending)
                pending = ""
        if pending.strip("; \n\t"):
            await self.issue(pending)

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:  # noqa: ARG002 - SQLite has one level
        # A plain BEGIN that reads and later writes fails at once when another connection wrote in between.
        if readonly:
            await self.issue("BEGIN")
        else:
            await self._begin_writing()
            await self.issue("BEGIN IMMEDIATE")

    async def commit(self) -> None:
        await self.issue("COMMIT")
        self._finish_writing()

    async def rollback(self) -> None:
        await self.issue("ROLLBACK")
        self._finish_writing()
