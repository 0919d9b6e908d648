"""Connect to PostgreSQL through asyncpg."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, cast

import asyncpg
from databases.backends import postgres
from databases.core import DatabaseURL
from sqlalchemy.sql import ClauseElement

from edgy_bus.database.backends.base import Backend, RawRow, Result, Session, Translation
from edgy_bus.database.backends.postgres_dialect import compiling_dialect
from edgy_bus.database.backends.postgres_errors import translate
from edgy_bus.database.backends.postgres_pool import CLEANING_TIMEOUT, Pool, Wrapped
from edgy_bus.database.backends.postgres_settings import quoted, settings
from edgy_bus.database.compiling import Arguments, Columns, Statement
from edgy_bus.database.url import Target
from edgy_bus.errors import DatabaseError

_ISOLATION = ("read committed", "repeatable read", "serializable")


class PostgresBackend(Backend, postgres.PostgresBackend):
    """Connect `databases` to PostgreSQL, with a schema that the URL can name."""

    _pool: Pool  # type: ignore[assignment]  # asyncpg's pool in `databases`

    def __init__(self, url: DatabaseURL, *, target: Target, **options: Any) -> None:
        super().__init__(url)
        self._settings = settings(url, target, options)
        self.compiling_dialect = compiling_dialect()
        self.translation = Translation(translate)
        self.uses_pgbouncer = bool(self._settings.pgbouncer)
        self.definition_timeout = self._settings.definition_timeout
        self.max_connections = self._settings.max_connections
        self._pool = Pool(self._settings)

    async def connect(self) -> None:
        """Open the pool with one connection, and create the schema if it is missing."""
        await self._pool.open()
        if self._settings.schema is None:
            return
        try:
            await self._create_schema(self._settings.schema)
        except BaseException:
            await self._pool.close()
            raise

    async def disconnect(self) -> None:
        """Close every connection; wait a while for connections that tasks still use."""
        await self._pool.close()

    async def settle(self) -> None:
        """Open the pool in the running event loop, if another loop has opened it."""
        await self._pool.settle()

    def abandon(self) -> None:
        """Forget every connection in a forked process."""
        self._pool.abandon()

    async def notify(self, channel: str) -> None:
        """Send a notification, outside any transaction."""
        statement = _query("SELECT pg_notify($1, '')", channel)
        await self.on_session(lambda session: session.fetch(statement))

    def connect_arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect` for a connection like those of the pool."""
        return dict(self._settings.connection)

    async def _create_schema(self, schema: str) -> None:
        # CREATE … IF NOT EXISTS needs the privilege to create, even if the schema exists: a service
        # without this privilege must be able to start.
        query = _query("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema)
        if (await self.on_session(lambda session: session.fetch(query))).rows:
            return
        create = f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"
        try:
            await self.on_session(lambda session: session.issue(create))
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateSchemaError):
            # IF NOT EXISTS does not lock: another process created the schema at the same moment.
            return

    def connection(self) -> "PostgresSession":
        """Return a session that holds no connection yet."""
        return PostgresSession(self, self._dialect)


class _Watch:
    """Note on a session that a statement failed, was interrupted, or got no answer in time."""

    # An interrupted statement may still run at the server. asyncpg's pool waits for its end before
    # it gives the connection to the next task; a connection that stayed idle here would not.

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
        if kind is None:
            return
        self._session.failed = True
        if issubclass(kind, TimeoutError):
            self._session.is_silent = True
        if issubclass(kind, TimeoutError | asyncio.CancelledError):
            self._session.is_interrupted = True


class PostgresSession(Session, postgres.PostgresConnection):
    """Run statements on a task's connection to PostgreSQL."""

    # A reset costs a round trip. It is needed only after a statement that may have changed the
    # session (SET, advisory locks, prepared statements), and `_touched` remembers such statements.

    _database: PostgresBackend
    _connection: "Wrapped | None"  # type: ignore[assignment]  # in the pool's wrapper
    _touched = False
    failed = False
    is_silent = False
    """Whether the server did not answer in time."""
    is_interrupted = False
    """Whether the server may still run a statement for which nobody waits."""

    async def acquire(self) -> None:
        """Take a connection. Raises `DatabaseError` if the session has a connection already."""
        if self._connection is not None:
            raise DatabaseError("this session has a connection already")
        self._connection = await self._database._pool.take()

    async def release(self) -> None:
        """Give the connection back, if the session has any."""
        connection = self._connection
        touched, failed, is_silent = self._touched, self.failed, self.is_silent
        self._connection = None
        self._touched = self.failed = self.is_silent = self.is_interrupted = False
        if connection is None:
            return
        pool = self._database._pool
        if touched:
            pool.mark_changed(connection)
        await pool.give_back(connection, clean=not (touched or failed), is_silent=is_silent)

    @property
    def raw_connection(self) -> Any:
        """Return asyncpg's connection, with which the caller may change the session."""
        self._touched = True
        return self._raw

    @property
    def _raw(self) -> Wrapped:
        if self._connection is None:
            raise DatabaseError("this session has no connection")
        return self._connection

    async def _ready(self) -> Wrapped:
        """Return the connection, after the end of an interrupted statement."""
        if self.is_interrupted:
            # asyncpg waits until the server has stopped the statement. A host that vanished never
            # confirms that, and the caller may have given up long ago.
            async with asyncio.timeout(CLEANING_TIMEOUT):
                with suppress(asyncpg.PostgresError):  # the transaction has failed, as expected
                    await self._raw.execute("SELECT 1")
            self.is_interrupted = False
        return self._raw

    # The methods of `databases` take any SQL, so they count as a change of the session.

    @asynccontextmanager
    async def _touching(self) -> AsyncIterator[None]:
        self._touched = True
        with self._watched():
            await self._ready()
            yield

    async def fetch_all(self, query: ClauseElement) -> Any:
        """Run a query for `databases`."""
        async with self._touching():
            return await super().fetch_all(query)

    async def fetch_one(self, query: ClauseElement) -> Any:
        """Run a query for `databases`, and return its first row."""
        async with self._touching():
            return await super().fetch_one(query)

    async def execute(self, query: ClauseElement) -> Any:
        """Run a statement for `databases`."""
        async with self._touching():
            return await super().execute(query)

    async def execute_many(self, queries: list[ClauseElement]) -> None:
        """Run statements for `databases`."""
        async with self._touching():
            await super().execute_many(queries)

    async def iterate(self, query: ClauseElement) -> AsyncGenerator[Any, None]:
        """Run a query for `databases`, and yield its rows."""
        async with self._touching(), aclosing(super().iterate(query)) as rows:
            async for row in rows:
                yield row

    def _watched(self) -> _Watch:
        return _Watch(self)

    def discard(self) -> None:
        """Cut the connection; the server rolls its transaction back."""
        connection = self._connection
        # asyncpg's wrapper is empty if the server has cut the connection already.
        if connection is not None and cast(Any, connection)._con is not None:
            connection.terminate()

    async def fetch(self, statement: Statement) -> Result:
        """Run a statement, and convert its rows to Python's types."""
        self._touched = self._touched or not statement.harmless
        with self._watched():
            return await self._fetch(statement)

    async def _fetch(self, statement: Statement) -> Result:
        connection = await self._ready() if self.is_interrupted else self._raw
        if statement.returns_rows is None:
            return await self._fetch_text(connection, statement)
        if not statement.returns_rows:
            status = await connection.execute(
                statement.sql, *statement.arguments, timeout=self.limit
            )
            return Result(rowcount=_count(status))
        records = await connection.fetch(statement.sql, *statement.arguments, timeout=self.limit)
        return _result(statement, records)

    async def _fetch_text(self, connection: Wrapped, statement: Statement) -> Result:
        # Only the server knows whether a statement of text returns rows; preparing it tells us.
        # Behind pgbouncer without a name: named statements stay at the server for other programs.
        name = "" if self._database.uses_pgbouncer else None
        prepared = await connection.prepare(statement.sql, name=name, timeout=self.limit)
        records = await prepared.fetch(*statement.arguments, timeout=self.limit)
        if prepared.get_attributes():
            return _result(statement, records)
        return Result(rowcount=_count(prepared.get_statusmsg()))

    async def read(self, statement: Statement) -> Sequence[RawRow]:
        """Run a statement that returns rows, without conversion of their values."""
        self._touched = self._touched or not statement.harmless
        with self._watched():
            records = await (await self._ready()).fetch(
                statement.sql, *statement.arguments, timeout=self.limit
            )
        return cast("Sequence[RawRow]", records)

    async def run_many(self, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run a statement once for each tuple of values."""
        with self._watched():
            await (await self._ready()).executemany(sql, arguments, timeout=self.limit)

    async def issue(self, sql: str) -> None:
        """Run a statement of the library that leaves the session unchanged."""
        with self._watched():
            await (await self._ready()).execute(sql, timeout=self.limit)

    async def script(self, sql: str) -> None:
        """Run several statements of text."""
        self._touched = True
        await self.issue(sql)

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
            status = await (await self._ready()).execute("COMMIT", timeout=self.limit)
        if status == "ROLLBACK":
            raise DatabaseError(
                "the transaction was rolled back instead of committed, because a statement in it "
                "had failed and its error was caught; put such a statement in a nested "
                "`database.transaction()`"
            )

    async def rollback(self) -> None:
        """Roll the open transaction back."""
        await self.issue("ROLLBACK")


def _query(sql: str, *arguments: object) -> Statement:
    """Return a query of the library that leaves the session unchanged."""
    return Statement(sql, arguments, returns_rows=True, columns=Columns((), ()), harmless=True)


def _result(statement: Statement, records: Sequence[asyncpg.Record]) -> Result:
    names = tuple(records[0].keys()) if records and not statement.columns.names else ()
    rows = [statement.columns.row(names, record) for record in records]
    return Result(rows, len(rows))


def _count(status: str | None) -> int:
    """Return the number at the end of a status such as `UPDATE 3`; 0 without a number."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
