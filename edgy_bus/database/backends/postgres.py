"""PostgreSQL through asyncpg."""

import json
import re
import time
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any
from weakref import WeakSet

import asyncpg
from databases.backends import postgres
from databases.core import DatabaseURL
from sqlalchemy import Dialect, Float, Numeric
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import sqltypes

from edgy_bus.database.backends.base import Backend, Result, Session, Translation
from edgy_bus.database.compiling import Processor, Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError, DatabaseUnavailable, IntegrityError

_UNUSED = 60.0
"""Seconds after which a connection that nobody took goes back to the pool, which closes it in time."""
_ISOLATION = ("read committed", "repeatable read", "serializable")


class _Numeric(Numeric[Any]):
    """asyncpg returns decimals."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return None if self.asdecimal else _unless_none(float)


class _Float(Float[Any]):
    """asyncpg returns floats."""

    render_bind_cast = True

    def bind_processor(self, _: Dialect) -> None:
        return None

    def result_processor(self, _: Dialect, __: object) -> Processor | None:
        return _unless_none(Decimal) if self.asdecimal else None


class _JSON(JSON):
    """asyncpg returns JSON as text."""

    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


class _JSONB(JSONB):
    render_bind_cast = True

    def result_processor(self, _: Dialect, __: object) -> Processor:
        return _unless_none(json.loads)


def _unless_none(convert: Processor) -> Processor:
    return lambda value: None if value is None else convert(value)


class _Dialect(PGDialect_asyncpg):
    """SQLAlchemy's dialect for asyncpg, used to compile only: numbered parameters, and casts that make their types plain.

    SQLAlchemy would install decoders on its own connections. Ours come from a pool that `databases` reads from too, so what
    asyncpg returns is decoded here.
    """

    supports_statement_cache = True
    colspecs = PGDialect_asyncpg.colspecs | {
        Numeric: _Numeric,
        Float: _Float,
        sqltypes.JSON: _JSON,
        JSON: _JSON,
        JSONB: _JSONB,
    }


def _compiling_dialect() -> Dialect:
    dialect: Any = _Dialect
    made: Dialect = dialect()
    # The server has standard_conforming_strings on: a backslash in a literal is a backslash.
    made._backslash_escapes = False  # type: ignore[attr-defined] # SQLAlchemy learns it from a live connection
    return made


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


def _translated(error: Exception) -> DatabaseError | None:
    """Details hold values of the row: they stay in the cause."""
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return IntegrityError(
            f"PostgreSQL refuses the row: {error.args[0]}",
            table=error.table_name,
            column=error.column_name,
        )
    if isinstance(error, _AWAY) or (
        isinstance(error, asyncpg.InterfaceError) and _CUT.search(str(error))
    ):
        return DatabaseUnavailable(
            f"PostgreSQL cannot be reached: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        )
    if isinstance(error, asyncpg.LockNotAvailableError):
        return DatabaseUnavailable(f"PostgreSQL: {error.args[0]}")
    if isinstance(error, asyncpg.DataError):
        return DatabaseError(f"PostgreSQL cannot store a value: {str(error).partition(':')[0]}")
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return DatabaseError(f"PostgreSQL: {error.args[0]}")
    return None


class PostgresBackend(Backend, postgres.PostgresBackend):
    """PostgreSQL for `databases`, in a schema of choice."""

    _pool: Any

    def __init__(self, url: DatabaseURL, *, target: Target, **options: Any) -> None:
        super().__init__(url)
        self._schema = target.schema
        self._settings = _settings(url, target, options)
        self.compiling_dialect = _compiling_dialect()
        self.translation = Translation(_translated)
        self.to_reset: WeakSet[Any] = WeakSet()
        """Connections whose session somebody may have changed."""
        self._at_hand: deque[tuple[Any, float]] = deque()
        """Clean connections that the pool believes to be in use, and since when they are at hand: to give one back to the pool and
        take it again costs about as much as a small statement."""
        self._closing = False
        self._asking = 0
        """Tasks that wait for the pool; while there are any, connections go back to it."""

    async def connect(self) -> None:
        pool_only: dict[str, Any] = {"min_size": 1, "reset": self._reset} | {
            name: self._settings[name] for name in _POOL if name in self._settings
        }
        self._pool = await asyncpg.create_pool(**self.connect_arguments(), **pool_only)
        if self._schema is not None:
            await self._create_schema(self._schema)

    async def _reset(self, connection: Any) -> None:
        if connection in self.to_reset:
            self.to_reset.discard(connection)
            await connection.reset()

    async def disconnect(self) -> None:
        self._closing = (
            True  # the pool waits for every connection: none may be kept at hand from here on
        )
        while self._at_hand:
            await self.pool.release(self._at_hand.pop()[0])
        await super().disconnect()
        self._closing = False

    async def take(self) -> Any:
        """A connection for one task."""
        while self._at_hand:
            connection, _ = self._at_hand.pop()
            if connection._con is None:  # the server has cut it, and the pool knows
                continue
            if not connection.is_closed():
                return connection
            await self.pool.release(connection)
        self._asking += 1
        try:
            return await self.pool.acquire()
        finally:
            self._asking -= 1

    async def give_back(self, connection: Any, *, clean: bool) -> None:
        """The task is done with it; `clean`: its last statement has ended, and nothing of the session was changed."""
        if self._pool is None or connection._con is None:
            return
        if (
            not clean
            or self._closing
            or self._asking
            or connection.is_closed()
            or connection.is_in_transaction()
        ):
            await self.pool.release(connection)
            return
        now = time.monotonic()
        self._at_hand.append((connection, now))
        if now - self._at_hand[0][1] > _UNUSED:
            await self.pool.release(self._at_hand.popleft()[0])

    async def notify(self, channel: str) -> None:
        connection = await self.take()
        ended = False
        try:
            await connection.execute("SELECT pg_notify($1, '')", channel)
            ended = True
        finally:
            await self.give_back(connection, clean=ended)

    def connect_arguments(self) -> dict[str, Any]:
        """What `asyncpg.connect` needs for a connection of its own, the same as those of the pool."""
        return {name: value for name, value in self._settings.items() if name not in _POOL}

    async def _create_schema(self, schema: str) -> None:
        pool = self.pool
        # CREATE ... IF NOT EXISTS needs the privilege to create even where there is nothing to do.
        if await pool.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
            return
        try:
            await pool.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateSchemaError):
            return  # another process created it at the same moment

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        pool: asyncpg.Pool[asyncpg.Record] | None = self._pool
        if pool is None:
            raise DatabaseError("the database is not connected")
        return pool

    def connection(self) -> "PostgresSession":
        return PostgresSession(self, self._dialect)


class _Watched:
    """Notes that a statement failed or was cancelled: it may still be running at the server, and the pool knows how to wait for that."""

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
    """One task's connection to PostgreSQL.

    Resetting a connection before it goes back to the pool costs a round trip, so it is done only where somebody had access to
    it who may have changed its session.
    """

    _database: PostgresBackend
    _touched = False
    failed = False

    async def acquire(self) -> None:
        if self._connection is not None:
            raise DatabaseError("this session has a connection already")
        self._connection = await self._database.take()

    async def release(self) -> None:
        connection: Any = self._connection
        touched, failed = self._touched, self.failed
        self._connection, self._touched, self.failed = None, False, False
        if connection is None:
            return
        if touched and connection._con is not None:  # None: the server has cut it
            self._database.to_reset.add(connection._con)
        await self._database.give_back(connection, clean=not (touched or failed))

    @property
    def raw_connection(self) -> Any:
        self._touched = True
        return self._raw

    @property
    def _raw(self) -> Any:
        return super().raw_connection

    async def fetch_all(self, query: Any) -> Any:
        self._touched = True
        return await super().fetch_all(query)

    async def fetch_one(self, query: Any) -> Any:
        self._touched = True
        return await super().fetch_one(query)

    async def execute(self, query: Any) -> Any:
        self._touched = True
        return await super().execute(query)

    async def execute_many(self, queries: Any) -> None:
        self._touched = True
        await super().execute_many(queries)

    def iterate(self, query: Any) -> Any:
        self._touched = True
        return super().iterate(query)

    def _watched(self) -> "_Watched":
        return _Watched(self)

    def discard(self) -> None:
        connection: Any = self._connection
        if connection is not None and connection._con is not None:  # None: the server has cut it
            connection.terminate()

    async def fetch(self, statement: Statement) -> Result:
        self._touched = self._touched or not statement.harmless
        with self._watched():
            return await self._fetch(statement)

    async def _fetch(self, statement: Statement) -> Result:
        returns_rows = statement.returns_rows
        if returns_rows is None:
            return await self._fetch_text(statement)
        if not returns_rows:
            return Result(
                rowcount=_count(await self._raw.execute(statement.sql, *statement.arguments))
            )
        records = await self._raw.fetch(statement.sql, *statement.arguments)
        return _result(statement, records)

    async def _fetch_text(self, statement: Statement) -> Result:
        prepared = await self._raw.prepare(statement.sql)
        records = await prepared.fetch(*statement.arguments)
        if prepared.get_attributes():
            return _result(statement, records)
        return Result(rowcount=_count(prepared.get_statusmsg()))

    async def read(self, statement: Statement) -> Sequence[Sequence[Any]]:
        self._touched = self._touched or not statement.harmless
        with self._watched():
            rows: Sequence[Sequence[Any]] = await self._raw.fetch(
                statement.sql, *statement.arguments
            )
        return rows

    async def run_many(self, sql: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        with self._watched():
            await self._raw.executemany(sql, arguments)

    async def issue(self, sql: str) -> None:
        with self._watched():
            await self._raw.execute(sql)

    async def script(self, sql: str) -> None:
        self._touched = True
        await self._raw.execute(sql)

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        if isolation is not None and isolation.replace("_", " ") not in _ISOLATION:
            raise DatabaseError(
                f"unknown isolation level {isolation!r}: use one of {', '.join(_ISOLATION)}"
            )
        level = f" ISOLATION LEVEL {isolation.replace('_', ' ').upper()}" if isolation else ""
        await self.issue(f"BEGIN{level}{' READ ONLY' if readonly else ''}")

    async def commit(self) -> None:
        # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error.
        with self._watched():
            status = await self._raw.execute("COMMIT")
        if status == "ROLLBACK":
            raise DatabaseError(
                "the transaction was rolled back instead of committed, because a statement in it had failed and its error "
                "was caught; put such a statement in a nested `database.transaction()`"
            )

    async def rollback(self) -> None:
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


def _settings(url: DatabaseURL, target: Target, options: dict[str, Any]) -> dict[str, Any]:
    server: dict[str, str] = dict(options.pop("server_settings", {}))
    named = dict(target.options)
    if "application_name" in named:
        server["application_name"] = named.pop("application_name")
    if target.schema is not None:
        server["search_path"] = quoted(target.schema)
    place = {"host": url.hostname, "port": url.port, "user": url.username, "password": url.password}
    return {
        **place,
        "database": url.database or None,
        "server_settings": server,
        **named,
        **options,
    }


def quoted(name: str) -> str:
    """A name as PostgreSQL reads it literally."""
    return '"' + name.replace('"', '""') + '"'


def _result(statement: Statement, records: Sequence[asyncpg.Record]) -> Result:
    names = tuple(records[0].keys()) if records and not statement.columns.names else ()
    rows = [statement.columns.row(names, record) for record in records]
    return Result(rows, len(rows))


def _count(status: str | None) -> int:
    """The number at the end of `UPDATE 3`."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
