"""Connect to SQLite through aiosqlite, with a write-ahead log and foreign keys."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from typing import Protocol, TypeVar, cast
from urllib.parse import quote, urlencode

import aiosqlite
from databases.backends import sqlite
from databases.core import DatabaseURL
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from edgy_bus.database.backends.base import Backend, RawRow, Result, Session, Translation
from edgy_bus.database.compiling import Arguments, Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError, DatabaseUnavailable, IntegrityError

KEPT_OPEN = 4
"""Idle connections that stay open; each is a thread."""

_MEMORY = ("", ":memory:")
_POLL = 0.01
_CLOSE_TIMEOUT = 5.0
"""Seconds that `close` waits for connections that were discarded while they were busy."""

T = TypeVar("T")


class _Pool(sqlite.SQLitePool):
    """Open connections, and keep some of the released connections for the next task."""

    # A database in memory exists once per connection. It has a single connection here, and tasks
    # wait for their turn; a second connection would see an empty database.

    def __init__(self, target: Target, options: Mapping[str, object]) -> None:
        self._target = target
        self._options = {**target.options, **options}
        self._in_memory = DatabaseURL(target.address).database in _MEMORY
        self._turn = asyncio.Semaphore(1)
        self.write_lock = asyncio.Lock()
        self.lock_timeout = cast(float, self._options["timeout"])
        self._idle: list[aiosqlite.Connection] = []
        self._stopping: set[asyncio.Future[object]] = set()
        self._memref = None

    async def acquire(self) -> aiosqlite.Connection:
        """Return an idle connection, or open a new connection."""
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
        connect: Callable[..., aiosqlite.Connection] = aiosqlite.connect
        connection = connect(name, isolation_level=None, uri=uri, **self._options)
        # A process that forgets to disconnect must be able to exit.
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
        """Switch the file to the write-ahead log, which lets readers and a writer work together."""
        # The busy timeout does not apply to this PRAGMA: with several processes that start
        # together, SQLite refuses all but the first at once, so this method polls.
        deadline = time.monotonic() + self.lock_timeout
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
        """Keep or close a connection. Never waits, so a cancellation cannot interrupt it."""
        if len(self._idle) < KEPT_OPEN:
            self._idle.append(connection)
            self._pass_on()
        else:
            self.discard(connection)

    def discard(self, connection: aiosqlite.Connection) -> None:
        """Interrupt and close a connection; SQLite rolls its open transaction back."""
        # The thread of the connection may be busy with a long statement. Without the interruption,
        # the write lock would be held until the end of that statement.
        with suppress(ValueError):  # closed already
            connection._conn.interrupt()
        stopping = connection.stop()
        if stopping is not None:
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._in_memory:
            self._turn.release()

    async def close(self) -> None:
        """Close the idle connections, and wait a while for discarded connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        if self._stopping:
            # A thread reports its end to the event loop, which may be closed soon after this call;
            # the report would then raise an error in the thread.
            await asyncio.wait(self._stopping, timeout=_CLOSE_TIMEOUT)


def _translate(error: Exception) -> DatabaseError | None:
    """Translate an error of SQLite; None for other errors."""
    # SQLite's texts name tables and columns, but contain no values, so they can be passed on.
    if isinstance(error, sqlite3.IntegrityError):
        return IntegrityError(f"SQLite refuses the row: {error}")
    if isinstance(error, sqlite3.OperationalError) and _code(error) in _LOCKED:
        return DatabaseUnavailable(f"SQLite: {error}")
    if isinstance(error, sqlite3.Error):
        return DatabaseError(f"SQLite: {error}")
    if isinstance(error, OverflowError):
        return DatabaseError(f"SQLite cannot store a value: {error}")
    return None


_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 for an error of the `sqlite3` module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SQLiteBackend(Backend, sqlite.SQLiteBackend):
    """Connect `databases` to SQLite, with the pool and sessions of this module."""

    def __init__(self, url: DatabaseURL, *, target: Target, **options: object) -> None:
        self._database_url = url
        self._dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
        # SQLAlchemy converts decimals, because aiosqlite cannot bind a Decimal.
        self._dialect.supports_native_decimal = False
        self.compiling_dialect = self._dialect
        self.translation = Translation(_translate)
        self._pool: _Pool = _Pool(target, options)

    async def connect(self) -> None:
        """Open a connection, so that an invalid path is reported here and not at first use."""
        await self._pool.release(await self._pool.acquire())

    async def disconnect(self) -> None:
        """Close every connection that no task uses."""
        await self._pool.close()

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

    _pool: _Pool
    _has_write_lock = False

    async def release(self) -> None:
        """Give the connection and the write lock back, if the session has any."""
        self._finish_writing()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    def discard(self) -> None:
        """Interrupt and close the connection; SQLite rolls its transaction back."""
        self._finish_writing()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.discard(connection)

    async def _begin_writing(self) -> None:
        """Wait for this process's turn to write."""
        # SQLite allows a single writer and lets the others poll for its lock, in no order: under
        # load, a task could starve. The queue of this lock is fair, and only processes poll.
        timeout = self._pool.lock_timeout
        try:
            async with asyncio.timeout(timeout):
                await self._pool.write_lock.acquire()
        except TimeoutError:
            raise DatabaseError(
                f"another transaction of this process has kept the database locked for {timeout:g}"
                " s; does it wait for a task that needs a transaction of its own?"
            ) from None
        self._has_write_lock = True

    def _finish_writing(self) -> None:
        if self._has_write_lock:
            self._has_write_lock = False
            self._pool.write_lock.release()

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError(
                "the connection was closed because an earlier statement was interrupted"
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

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:  # noqa: ARG002
        """Open a transaction, with the write lock unless `readonly`."""
        # SQLite has a single isolation level, serializable, so `isolation` changes nothing.
        # IMMEDIATE: after a plain BEGIN, a transaction that has read fails at its first write if
        # another connection wrote in between, and no waiting helps.
        if readonly:
            await self.issue("BEGIN")
        else:
            await self._begin_writing()
            await self.issue("BEGIN IMMEDIATE")

    async def commit(self) -> None:
        """Commit, and let the next task write."""
        await self.issue("COMMIT")
        self._finish_writing()

    async def rollback(self) -> None:
        """Roll the open transaction back, and let the next task write."""
        await self.issue("ROLLBACK")
        self._finish_writing()
