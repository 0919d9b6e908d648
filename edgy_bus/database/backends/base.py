"""Define the interface to a driver's connection, beyond the interface that `databases` defines."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

from databases.interfaces import ConnectionBackend, DatabaseBackend
from sqlalchemy import Dialect

from edgy_bus.database.compiling import Arguments, Row, Statement
from edgy_bus.errors import DatabaseError

T = TypeVar("T")

CREATE_TABLES = (
    "create the tables in the database of the URL, with `await registry.create_all()` or with your "
    "migrations"
)
"""What to do about a table that does not exist."""

RawRow = Sequence[Any]
"""A row as the driver returned it: values in the order of the columns, without conversion."""


@dataclass(frozen=True, slots=True)
class Result:
    """Hold the rows of a statement, and the number of rows that it returned or changed."""

    rows: list[Row] = field(default_factory=list)
    rowcount: int = 0


class Session(ConnectionBackend):
    """Run statements on a task's connection to a database.

    After `release` the session holds no connection, even when the release was cancelled. `discard`
    never waits, so a caller that cannot clean a connection up can still give the connection back.

    Attributes:
        limit: seconds that a statement may take; None for the limit of the connection. SQLite has
            no such limit.
    """

    limit: float | None = None

    @abstractmethod
    async def fetch(self, statement: Statement) -> Result:
        """Run a statement, and convert its rows to Python's types."""

    @abstractmethod
    async def read(self, statement: Statement) -> Sequence[RawRow]:
        """Run a statement that returns rows, without conversion of their values."""

    @abstractmethod
    async def run_many(self, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run a statement once for each tuple of values."""

    @abstractmethod
    async def issue(self, sql: str) -> None:
        """Run a statement of the library that leaves the session unchanged: BEGIN, COMMIT, DDL."""

    @abstractmethod
    async def script(self, sql: str) -> None:
        """Run several statements of text; an open transaction stays open."""

    @abstractmethod
    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        """Open a transaction, which can write after it has read without a conflict.

        Raises:
            DatabaseError: for an isolation level that the database does not have.
        """

    @abstractmethod
    async def commit(self) -> None:
        """Commit. Raises `DatabaseError` if the database rolled back instead."""

    @abstractmethod
    async def rollback(self) -> None:
        """Roll the open transaction back."""

    @abstractmethod
    def discard(self) -> None:
        """End the connection and its transaction, without waiting; no task uses it again."""


class Translation:
    """Raise a driver's error as an error of edgy_bus, with the driver's error as the cause.

    Used as `with translation:`. `translate` returns None for errors that pass unchanged, and
    removes values of rows from the driver's error.
    """

    # A class instead of @contextmanager: every statement enters it, and a generator costs more.

    def __init__(self, translate: Callable[[Exception], DatabaseError | None]) -> None:
        self._translate = translate

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            translated = self._translate(error)
            if translated is not None:
                raise translated from error


class Backend(DatabaseBackend):
    """Connect to a kind of database."""

    compiling_dialect: Dialect
    translation: Translation

    uses_pgbouncer: bool = False
    """Whether statements of a session may reach different connections of the server."""

    definition_timeout: float | None = None
    """Seconds that a statement may take that changes tables; None for no special limit."""

    @abstractmethod
    async def settle(self) -> None:
        """Move open connections to the running event loop, if another loop has opened them.

        Raises:
            DatabaseError: if that loop still uses the connections.
        """

    @abstractmethod
    def abandon(self) -> None:
        """Forget every connection in a forked process, without a message to the server."""

    @abstractmethod
    def connection(self) -> Session:
        """Return a session that holds no connection yet."""

    async def on_session(self, use: Callable[[Session], Awaitable[T]]) -> T:
        """Call `use` with a session that has a connection for this call."""
        return await on_session(self.connection(), use)


async def on_session(session: Session, use: Callable[[Session], Awaitable[T]]) -> T:
    """Call `use` with a session, which has a connection for this call."""
    await session.acquire()
    try:
        return await use(session)
    finally:
        await session.release()
