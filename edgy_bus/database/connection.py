"""A task's connection, and the transactions on it.

`databases` loses a connection when BEGIN, COMMIT or ROLLBACK fails or is cancelled. Here, whatever happens, a transaction
that was left has given its connection back: clean, or closed.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from databases import core

from edgy_bus import telemetry
from edgy_bus.database.backends.base import Backend, Session
from edgy_bus.errors import DatabaseError
from edgy_bus.telemetry import catalogue

Callback = Callable[[], Awaitable[None] | None]
P = ParamSpec("P")
T = TypeVar("T")


_open: ContextVar[tuple["Transaction", ...]] = ContextVar("edgy_bus_transactions", default=())
"""The outermost transactions of this task; a task that is started meanwhile inherits it."""


def refuse_inherited(database: core.Database) -> None:
    """Raise `DatabaseError` in a task that has no connection yet and was started inside an open transaction of another one.

    It would be outside of that transaction: not see its rows, stay when it rolls back, and wait for its locks while the other task
    waits for it.
    """
    for one in _open.get():
        if one.is_open_on(database):
            raise DatabaseError(
                "this task was started inside a transaction of another task, and would be outside of it, or wait for it for ever "
                "(asyncio.gather, create_task and, before Python 3.12, wait_for start tasks): await the operation in the task that "
                "opened the transaction, or start the task after it"
            )


class Connection(core.Connection):
    """One task's connection, with the stack of transactions that are open on it."""

    def __init__(self, database: core.Database, backend: Backend) -> None:
        super().__init__(database, backend)
        self.session: Session = backend.connection()
        self.translation = backend.translation
        self._connection = self.session
        self.open_transactions: list[Transaction] = []

    async def __aenter__(self) -> Self:
        # No lock, unlike in `databases`: a connection belongs to one task.
        self._connection_counter += 1
        if self._connection_counter == 1:
            try:
                with self.translation:
                    await self.session.acquire()
            except BaseException:
                self._connection_counter = 0
                self._database._connection = None
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._connection_counter -= 1
        if self._connection_counter == 0:
            # Forgotten before the release is awaited: a cancelled release must not be found again.
            self._database._connection = None
            await self.session.release()

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> "Transaction":
        return Transaction(lambda: self, force_rollback=force_rollback, **options)


class Transaction(core.Transaction):
    """A transaction, or a savepoint when the task has one open already.

    Use it as `async with`, as a decorator, or with `start`, `commit` and `rollback`.
    """

    def __init__(
        self,
        connection: Callable[[], Connection],
        force_rollback: bool = False,
        *,
        isolation: str | None = None,
        readonly: bool = False,
    ) -> None:
        super().__init__(connection, force_rollback)
        self._find = connection
        self._isolation = isolation
        self._readonly = readonly
        self._held: Connection | None = None
        self._savepoint = ""
        self.callbacks: list[Callback] = []

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:  # type: ignore[override]
        """As a decorator: every call has a transaction of its own, also when calls overlap."""

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self._again():
                return await function(*args, **kwargs)

        return wrapper

    def _again(self) -> "Transaction":
        return Transaction(
            self._find, self._force_rollback, isolation=self._isolation, readonly=self._readonly
        )

    async def start(self) -> "Transaction":
        """Begin. When that fails or is cancelled, the connection is back in the pool, or closed."""
        if self._held is not None:
            raise DatabaseError(
                "this transaction is open already: call `database.transaction()` for another one"
            )
        connection = self._find()
        await connection.__aenter__()
        depth = len(connection.open_transactions)
        try:
            with connection.translation:
                await self._begin(connection.session, depth)
        except BaseException:
            if not depth:
                connection.session.discard()  # it may have begun, or be about to
            await connection.__aexit__()
            raise
        self._held = connection
        self.callbacks = []
        connection.open_transactions.append(self)
        if not depth:
            _open.set((*_open.get(), self))
        return self

    async def _begin(self, session: Session, depth: int) -> None:
        self._savepoint = f"edgy_bus_{depth}" if depth else ""
        if depth:
            await session.issue(f"SAVEPOINT {self._savepoint}")
        else:
            await session.begin(isolation=self._isolation, readonly=self._readonly)

    async def commit(self) -> None:
        """Commit, then run what waited for it.

        A savepoint hands its callbacks to the transaction around it. When the commit fails, the transaction is rolled back
        and the error raised. A callback's error is raised once all of them have run; the commit stays.
        """
        connection = self._leave()
        try:
            with connection.translation:
                if self._savepoint:
                    await connection.session.issue(f"RELEASE SAVEPOINT {self._savepoint}")
                else:
                    await connection.session.commit()
        except BaseException:
            await self._undo(connection.session)
            raise
        finally:
            await connection.__aexit__()
        if self._savepoint:
            connection.open_transactions[-1].callbacks.extend(self.callbacks)
        else:
            await _run(self.callbacks)

    async def rollback(self) -> None:
        """Roll back; callbacks are dropped. A connection on which that fails is closed, which rolls back as well."""
        connection = self._leave()
        try:
            await self._undo(connection.session)
        finally:
            await connection.__aexit__()

    async def _undo(self, session: Session) -> None:
        try:
            if self._savepoint:
                await session.issue(f"ROLLBACK TO SAVEPOINT {self._savepoint}")
                await session.issue(f"RELEASE SAVEPOINT {self._savepoint}")
            else:
                await session.rollback()
        except Exception as error:  # noqa: BLE001 - drivers share no base class
            session.discard()
            telemetry.emit(catalogue.ConnectionDiscarded(error=type(error).__name__))
        except BaseException:
            session.discard()
            raise

    def _leave(self) -> Connection:
        connection = self._held
        if connection is None:
            raise DatabaseError("this transaction is not open")
        if connection.open_transactions[-1] is not self:
            raise DatabaseError("a transaction can end only after those that were begun inside it")
        connection.open_transactions.pop()
        self._held = None
        _open.set(tuple(one for one in _open.get() if one is not self))
        return connection

    def is_open_on(self, database: core.Database) -> bool:
        return self._held is not None and self._held._database is database


async def _run(callbacks: list[Callback]) -> None:
    """Run every callback in order, then raise the first error."""
    errors: list[Exception] = []
    for callback in callbacks:
        try:
            outcome = callback()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
    if errors:
        raise errors[0]
