"""Connect to PostgreSQL through asyncpg."""

import json
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from weakref import WeakSet

import asyncpg
from databases.backends import postgres
from databases.core import DatabaseURL
from sqlalchemy import Dialect, Float, Numeric
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import ClauseElement, sqltypes

from edgy_bus.database.backends.base import Backend, RawRow, Result, Session, Translation
from edgy_bus.database.compiling import Arguments, Processor, Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError, DatabaseUnavailable, IntegrityError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

_Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
"""A pool's connection, in asyncpg's wrapper."""

_MAX_IDLE = 60.0
"""Seconds after which an idle connection goes back to asyncpg's pool, which closes it in time."""

_ISOLATION = ("read committed", "repeatable read", "serializable")


class _Numeric(Numeric[Any]):
    """Convert NUMERIC values, which asyncpg returns as decimals."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return None if self.asdecimal else _unless_none(float)


class _Float(Float[Any]):
    """Convert FLOAT values, which asyncpg returns as floats."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return _unless_none(Decimal) if self.asdecimal else None


class _JSON(JSON):
    """Convert JSON values, which asyncpg returns as text."""

    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


class _JSONB(JSONB):
    """Convert JSONB values, which asyncpg returns as text."""

    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


def _unless_none(convert: Processor) -> Processor:
    return lambda value: None if value is None else convert(value)


class _Dialect(PGDialect_asyncpg):
    """Compile statements for asyncpg: numbered parameters, with casts to their types."""

    # SQLAlchemy's own engine installs decoders for JSON and numbers on its connections. `databases`
    # reads from the same pool as this module and expects undecoded values, so no decoders can be
    # installed; the types above decode instead.

    supports_statement_cache = True
    colspecs = PGDialect_asyncpg.colspecs | {
        Numeric: _Numeric,
        Float: _Float,
        sqltypes.JSON: _JSON,
        JSON: _JSON,
        JSONB: _JSONB,
    }


def _compiling_dialect() -> Dialect:
    construct = cast("type[Dialect]", _Dialect)
    dialect = construct()
    # SQLAlchemy reads this setting from a live connection, which a compiler has not. PostgreSQL has
    # standard_conforming_strings on: a backslash in a literal stands for a backslash.
    dialect._backslash_escapes = False  # type: ignore[attr-defined]
    return dialect


_CUT = re.compile("connection is closed|released back to the pool")
_AWAY = (
    asyncpg.InternalClientError,  # a statement on a connection that the server has just ended
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)


def _translate(error: Exception) -> DatabaseError | None:
    """Translate an error of asyncpg; None for other errors."""
    # PostgreSQL puts values of the row into an error's DETAIL, and asyncpg puts the value into the
    # text of a DataError after a colon. Neither may reach a log: only the cause contains them.
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(
            f"PostgreSQL refuses the row: {error.args[0]}",
            table=error.table_name,
            column=error.column_name,
        )
    if isinstance(error, _AWAY) or _is_cut(error):
        first_line = str(error).partition("\n")[0]
        return DatabaseUnavailable(
            f"PostgreSQL cannot be reached: {type(error).__name__}: {first_line}"
        )
    if isinstance(error, asyncpg.LockNotAvailableError):
        return DatabaseUnavailable(f"PostgreSQL: {error.args[0]}")
    if isinstance(error, asyncpg.DataError):
        return DatabaseError(f"PostgreSQL cannot store a value: {str(error).partition(':')[0]}")
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return DatabaseError(f"PostgreSQL: {error.args[0]}")
    return None


def _is_cut(error: Exception) -> bool:
    # asyncpg reports a connection that the server has cut as a wrong use of its interface.
    return isinstance(error, asyncpg.InterfaceError) and _CUT.search(str(error)) is not None


class PostgresBackend(Backend, postgres.PostgresBackend):
    """Connect `databases` to PostgreSQL, with a schema that the URL can name.

    Idle connections stay here instead of in asyncpg's pool, up to `_MAX_IDLE` seconds, because a
    release to the pool and an acquisition cost about as much as a small statement.
    """

    _pool: Any

    def __init__(self, url: DatabaseURL, *, target: Target, **options: Any) -> None:
        super().__init__(url)
        self._schema = target.schema
        self._settings = _settings(url, target, options)
        self.compiling_dialect = _compiling_dialect()
        self.translation = Translation(_translate)
        self._to_reset: WeakSet[asyncpg.Connection[asyncpg.Record]] = WeakSet()
        """Connections whose session may have been changed by a statement."""
        self._idle: deque[tuple[_Connection, float]] = deque()
        """Clean connections with the time of their release; the pool believes they are in use."""
        self._closing = False
        self._waiting = 0
        """Tasks that wait for the pool."""

    async def connect(self) -> None:
        """Open the pool with one connection, and create the schema if it is missing."""
        pool_only: dict[str, Any] = {"min_size": 1, "reset": self._reset}
        pool_only |= {name: self._settings[name] for name in _POOL if name in self._settings}
        self._pool = await asyncpg.create_pool(**self.connect_arguments(), **pool_only)
        if self._schema is not None:
            await self._create_schema(self._schema)

    async def _reset(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        if connection in self._to_reset:
            self._to_reset.discard(connection)
            await connection.reset()

    def mark_changed(self, connection: _Connection) -> None:
        """Reset a connection before the pool gives it to another task."""
        inner = _inner(connection)
        if inner is not None:
            self._to_reset.add(inner)

    async def disconnect(self) -> None:
        """Close every connection; wait for connections that tasks still use."""
        # The pool waits for every connection in use, idle ones included: a connection that became
        # idle after the loop below would make the pool wait for ever.
        self._closing = True
        while self._idle:
            connection, _ = self._idle.pop()
            await self.pool.release(connection)
        await super().disconnect()
        self._closing = False

    async def take(self) -> _Connection:
        """Return a connection for a task; wait while all are in use."""
        while self._idle:
            connection, _ = self._idle.pop()
            if _is_lost(connection):
                continue
            if not connection.is_closed():
                return connection
            await self.pool.release(connection)
        self._waiting += 1
        try:
            return await self.pool.acquire()
        finally:
            self._waiting -= 1

    async def give_back(self, connection: _Connection, *, clean: bool) -> None:
        """Keep a connection for the next task, or release it to the pool.

        Args:
            connection: a connection of `take`.
            clean: whether its last statement has ended and its session is unchanged.
        """
        if self._pool is None or _is_lost(connection):
            return
        # While tasks wait for the pool, an idle connection here would be invisible to them.
        wanted_by_pool = self._closing or self._waiting > 0
        if not clean or wanted_by_pool or not _is_usable(connection):
            await self.pool.release(connection)
            return
        now = time.monotonic()
        self._idle.append((connection, now))
        oldest, since = self._idle[0]
        if now - since > _MAX_IDLE:
            self._idle.popleft()
            await self.pool.release(oldest)

    async def notify(self, channel: str) -> None:
        """Send a notification, outside any transaction."""
        connection = await self.take()
        clean = False
        try:
            await connection.execute("SELECT pg_notify($1, '')", channel)
            clean = True
        finally:
            await self.give_back(connection, clean=clean)

    def connect_arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect` for a connection like those of the pool."""
        return {name: value for name, value in self._settings.items() if name not in _POOL}

    async def _create_schema(self, schema: str) -> None:
        pool = self.pool
        # CREATE … IF NOT EXISTS needs the privilege to create, even if the schema exists: a service
        # without this privilege must be able to start.
        if await pool.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
            return
        try:
            await pool.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateSchemaError):
            # IF NOT EXISTS does not lock: another process created the schema at the same moment.
            return

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        """Return the pool. Raises `DatabaseError` before `connect`."""
        pool: asyncpg.Pool[asyncpg.Record] | None = self._pool
        if pool is None:
            raise DatabaseError("the database is not connected")
        return pool

    def connection(self) -> "PostgresSession":
        """Return a session that holds no connection yet."""
        return PostgresSession(self, self._dialect)


def _inner(connection: _Connection) -> "asyncpg.Connection[asyncpg.Record] | None":
    """Return the connection inside asyncpg's wrapper; None if the server has cut it."""
    wrapper: Any = connection
    inner: asyncpg.Connection[asyncpg.Record] | None = wrapper._con
    return inner


def _is_lost(connection: _Connection) -> bool:
    """Return whether the server has cut a connection; the pool has removed it already."""
    return _inner(connection) is None


def _is_usable(connection: _Connection) -> bool:
    return not (connection.is_closed() or connection.is_in_transaction())


class _Watch:
    """Note on a session that a statement failed or was cancelled."""

    # A cancelled statement may still run at the server. asyncpg's pool waits for its end before it
    # gives the connection to the next task; a connection that stayed idle here would not.

    __slots__ = ("_session",)

    def __init__(self, session: "PostgresSession") -> None:
        self._session = session

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._session.failed = True


class PostgresSession(Session, postgres.PostgresConnection):
    """Run statements on a task's connection to PostgreSQL."""

    # A reset costs a round trip. It is needed only after a statement that may have changed the
    # session (SET, advisory locks, prepared statements), and `_touched` remembers such statements.

    _database: PostgresBackend
    _connection: "_Connection | None"  # type: ignore[assignment]  # in the pool's wrapper
    _touched = False
    failed = False

    async def acquire(self) -> None:
        """Take a connection. Raises `DatabaseError` if the session has a connection already."""
        if self._connection is not None:
            raise DatabaseError("this session has a connection already")
        self._connection = await self._database.take()

    async def release(self) -> None:
        """Give the connection back, if the session has any."""
        connection = self._connection
        touched, failed = self._touched, self.failed
        self._connection, self._touched, self.failed = None, False, False
        if connection is None:
            return
        if touched:
            self._database.mark_changed(connection)
        await self._database.give_back(connection, clean=not (touched or failed))

    @property
    def raw_connection(self) -> Any:
        """Return asyncpg's connection, with which the caller may change the session."""
        self._touched = True
        return self._raw

    @property
    def _raw(self) -> _Connection:
        if self._connection is None:
            raise DatabaseError("this session has no connection")
        return self._connection

    # The methods of `databases` take any SQL, so they count as a change of the session.

    async def fetch_all(self, query: ClauseElement) -> Any:
        """Run a query for `databases`."""
        self._touched = True
        return await super().fetch_all(query)

    async def fetch_one(self, query: ClauseElement) -> Any:
        """Run a query for `databases`, and return its first row."""
        self._touched = True
        return await super().fetch_one(query)

    async def execute(self, query: ClauseElement) -> Any:
        """Run a statement for `databases`."""
        self._touched = True
        return await super().execute(query)

    async def execute_many(self, queries: list[ClauseElement]) -> None:
        """Run statements for `databases`."""
        self._touched = True
        await super().execute_many(queries)

    def iterate(self, query: ClauseElement) -> AsyncGenerator[Any, None]:
        """Run a query for `databases`, and yield its rows."""
        self._touched = True
        return super().iterate(query)

    def _watched(self) -> _Watch:
        return _Watch(self)

    def discard(self) -> None:
        """Cut the connection; the server rolls its transaction back."""
        connection = self._connection
        if connection is not None and not _is_lost(connection):
            connection.terminate()

    async def fetch(self, statement: Statement) -> Result:
        """Run a statement, and convert its rows to Python's types."""
        self._touched = self._touched or not statement.harmless
        with self._watched():
            return await self._fetch(statement)

    async def _fetch(self, statement: Statement) -> Result:
        if statement.returns_rows is None:
            return await self._fetch_text(statement)
        if not statement.returns_rows:
            status = await self._raw.execute(statement.sql, *statement.arguments)
            return Result(rowcount=_count(status))
        records = await self._raw.fetch(statement.sql, *statement.arguments)
        return _result(statement, records)

    async def _fetch_text(self, statement: Statement) -> Result:
        # Only the server knows whether a statement of text returns rows; preparing it tells us.
        prepared = await self._raw.prepare(statement.sql)
        records = await prepared.fetch(*statement.arguments)
        if prepared.get_attributes():
            return _result(statement, records)
        return Result(rowcount=_count(prepared.get_statusmsg()))

    async def read(self, statement: Statement) -> Sequence[RawRow]:
        """Run a statement that returns rows, without conversion of their values."""
        self._touched = self._touched or not statement.harmless
        with self._watched():
            records = await self._raw.fetch(statement.sql, *statement.arguments)
        return cast("Sequence[RawRow]", records)

    async def run_many(self, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run a statement once for each tuple of values."""
        with self._watched():
            await self._raw.executemany(sql, arguments)

    async def issue(self, sql: str) -> None:
        """Run a statement of the library that leaves the session unchanged."""
        with self._watched():
            await self._raw.execute(sql)

    async def script(self, sql: str) -> None:
        """Run several statements of text."""
        self._touched = True
        await self._raw.execute(sql)

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        """Open a transaction. Raises `DatabaseError` for an unknown isolation level."""
        if isolation is not None and isolation.replace("_", " ") not in _ISOLATION:
            raise DatabaseError(
                f"unknown isolation level {isolation!r}: use one of {', '.join(_ISOLATION)}"
            )
        level = f" ISOLATION LEVEL {isolation.replace('_', ' ').upper()}" if isolation else ""
        await self.issue(f"BEGIN{level}{' READ ONLY' if readonly else ''}")

    async def commit(self) -> None:
        """Commit. Raises `DatabaseError` if the database rolled back instead."""
        # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error: without this
        # check, lost writes would look like a success.
        with self._watched():
            status = await self._raw.execute("COMMIT")
        if status == "ROLLBACK":
            raise DatabaseError(
                "the transaction was rolled back instead of committed, because a statement in it "
                "had failed and its error was caught; put such a statement in a nested "
                "`database.transaction()`"
            )

    async def rollback(self) -> None:
        """Roll the open transaction back."""
        await self.issue("ROLLBACK")


_POOL = (
    "min_size",
    "max_size",
    "max_queries",
    "max_inactive_connection_lifetime",
    "setup",
    "init",
    "reset",
)
"""Arguments that only `asyncpg.create_pool` takes."""


def _settings(url: DatabaseURL, target: Target, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `asyncpg.create_pool` for a URL and further options."""
    server: dict[str, object] = dict(options.pop("server_settings", {}))
    settings = dict(target.options)
    if "application_name" in settings:
        server["application_name"] = settings.pop("application_name")
    if target.schema is not None:
        server["search_path"] = quoted(target.schema)
    # The order gives options of the URL precedence over its address, so that `?host=` can name a
    # socket directory, and gives arguments of `Database()` precedence over the URL.
    return {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database or None,
        "server_settings": server,
        **settings,
        **options,
    }


def quoted(name: str) -> str:
    """Return a name in the form that PostgreSQL reads literally."""
    return '"' + name.replace('"', '""') + '"'


def _result(statement: Statement, records: Sequence[asyncpg.Record]) -> Result:
    names = tuple(records[0].keys()) if records and not statement.columns.names else ()
    rows = [statement.columns.row(names, record) for record in records]
    return Result(rows, len(rows))


def _count(status: str | None) -> int:
    """Return the number at the end of a status such as `UPDATE 3`; 0 without a number."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
