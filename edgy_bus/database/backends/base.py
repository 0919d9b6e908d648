"""What the library needs from a driver's connection, beyond what `databases` asks of it."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from databases.interfaces import ConnectionBackend, DatabaseBackend
from sqlalchemy import Dialect

from edgy_bus.database.compiling import Row, Statement
from edgy_bus.errors import DatabaseError


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement gave: its rows, and how many rows it returned or changed."""

    rows: list[Row] = field(default_factory=list)
    rowcount: int = 0


class Session(ConnectionBackend):
    """One task's connection to a database.

    `release` never leaves the session holding a connection, not even when it is cancelled, and `discard` never waits: so
    whoever cannot clean a connection up can still give it back.
    """

    @abstractmethod
    async def fetch(self, statement: Statement) -> Result:
        """Run a statement."""

    @abstractmethod
    async def read(self, statement: Statement) -> Sequence[Sequence[Any]]:
        """Run a statement that returns rows; they are as the driver made them."""

    @abstractmethod
    async def run_many(self, sql: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement once for each tuple of values."""

    @abstractmethod
    async def issue(self, sql: str) -> None:
        """Run text of ours without parameters: BEGIN, COMMIT, DDL. It leaves nothing behind in the session."""

    @abstractmethod
    async def script(self, sql: str) -> None:
        """Run several statements of text; an open transaction stays open."""

    @abstractmethod
    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        """Open a transaction that can keep what it reads until it writes."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit. Raises `DatabaseError` when the database rolled back instead."""

    @abstractmethod
    async def rollback(self) -> None:
        """Roll the open transaction back."""

    @abstractmethod
    def discard(self) -> None:
        """Make sure that the connection in use is never used again, and that its transaction ends. Does not wait."""


class Translation:
    """`with translation:` raises what a driver raised as an error of ours, with the driver's as its cause."""

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
            ours = self._translate(error)
            if ours is not None:
                raise ours from error


class Backend(DatabaseBackend):
    """A kind of database."""

    compiling_dialect: Dialect
    translation: Translation

    @abstractmethod
    def connection(self) -> Session:
        """A session that holds no connection yet."""
