"""Manage a task's connection and the transactions on it.

`databases` loses a connection when BEGIN, COMMIT or ROLLBACK fails or is cancelled. Here, a
transaction that ended has given its connection back, clean or closed, no matter how it ended.
"""

import asyncio
import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from databases import core

from edgy_bus import telemetry
from edgy_bus.database.backends.base import Backend, Session
from edgy_bus.database.sharing import SharedTransaction
from edgy_bus.errors import DatabaseError
from edgy_bus.telemetry import catalogue

Callback = Callable[[], Awaitable[None] | None]
Undo = Callable[[], None]
P = ParamSpec("P")
T = TypeVar("T")


_open: ContextVar[tuple["Transaction", ...]] = ContextVar("edgy_bus_transactions", default=())
"""The outermost open transactions of this task; a task that it starts inherits the value."""

_taken: ContextVar[tuple["Connection", ...]] = ContextVar("edgy_bus_connections", default=())
"""The connections that this task holds; a task that it starts inherits the value."""


def left_open(context: Context) -> tuple["Connection", ...]:
    """Return the connections that code in `context` took, and did not give back.

    Connections that the caller's own context holds do not count.
    """
    taken = context.get(_taken, ())
    if not taken:  # nearly always, and asked for after every call of a receiver
        return ()
    ours = _taken.get()
    return tuple(each for each in taken if each.is_taken and each not in ours)


def inherited(database: core.Database) -> SharedTransaction | None:
    """Return the transaction of another task, in which the current task was started, to join it.

    A transaction that is rolled back in any case, as that of a fixture of tests, can be joined.

    Raises:
        DatabaseError: if another transaction on `database` was open when the current task was
            started, and is still open.
    """
    # The new connection would be outside the transaction: its statements would not see the rows of
    # the transaction and would survive a rollback. Waiting for a lock of the transaction would be a
    # deadlock that the database cannot detect, because the other task waits in Python.
    for transaction in _open.get():
        if transaction.is_open_on(database):
            if transaction.shared is not None:
                return transaction.shared
            raise DatabaseError(
                "this task was started inside a transaction of another task, and would be outside "
                "of it, or wait for it for ever (asyncio.gather, create_task and, before Python "
                "3.12, wait_for start tasks): await the operation in the task that opened the "
                "transaction, or start the task after it"
            )
    return None


class Connection(core.Connection):
    """Hold a task's connection and the stack of its open transactions."""

    def __init__(self, database: core.Database, backend: Backend, session: Session) -> None:
        super().__init__(database, backend)
        self.session = session
        self.translation = backend.translation
        self._connection = self.session
        self.open_transactions: list[Transaction] = []
        # Weak, because the database keeps this connection for as long as the task exists.
        task = asyncio.current_task()
        self._task = None if task is None else weakref.ref(task)

    async def __aenter__(self) -> Self:
        # `databases` takes a lock here. A connection belongs to one task, so no lock is needed.
        self._connection_counter += 1
        if self._connection_counter == 1:
            try:
                with self.translation:
                    await self.session.acquire()
            except BaseException:
                self._connection_counter = 0
                self._unregister()
                raise
            _taken.set((*_taken.get(), self))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._connection_counter -= 1
        if self._connection_counter == 0:
            # Unregistered before the release is awaited: if the release is cancelled, the task must
            # not get this half-released connection for its next statement.
            self._unregister()
            _taken.set(tuple(each for each in _taken.get() if each is not self))
            await self.session.release()

    @property
    def is_taken(self) -> bool:
        """Return whether the connection was not given back yet."""
        return self._connection_counter > 0

    async def close(self) -> None:
        """Roll back every open transaction, and give the connection back.

        If the rollback is cancelled, the connection to the database is closed instead.
        """
        try:
            while self.open_transactions:
                await self.open_transactions[-1].rollback()
        except BaseException:
            self.session.discard()
            raise
        finally:
            if self.is_taken:
                # No matter how often the connection was entered: nobody will leave it now.
                self._connection_counter = 1
                await self.__aexit__()

    def _unregister(self) -> None:
        """Let the task get another connection for its next statement."""
        # By the task of this connection: the collector may end a task that was lost with its event
        # loop while another task runs, whose connection must stay.
        task = None if self._task is None else self._task()
        connections = self._database._connection_map
        if task is not None and connections.get(task) is self:
            del connections[task]

    def abandon(self) -> None:
        """Forget the open transactions in a forked process: they belong to the parent."""
        for transaction in self.open_transactions:
            transaction.abandon()
        self.open_transactions.clear()

    def transaction(self, *, force_rollback: bool = False, **options: Any) -> "Transaction":
        """Return a transaction on this connection; see `Database.transaction`."""
        return Transaction(lambda: self, force_rollback=force_rollback, **options)


class Transaction(core.Transaction):
    """Run statements in a transaction, or in a savepoint if the task has an open transaction.

    Use it with `async with`, as a decorator, or through `start`, `commit` and `rollback`.
    """

    def __init__(
        self,
        connection: Callable[[], Connection],
        force_rollback: bool = False,
        *,
        isolation: str | None = None,
        readonly: bool = False,
        command_timeout: float | None = None,
    ) -> None:
        super().__init__(connection, force_rollback)
        self._find_connection = connection
        self._isolation = isolation
        self._readonly = readonly
        self._limit = command_timeout
        self._limit_before: float | None = None
        self._current: Connection | None = None
        self._savepoint = ""
        self.is_committed = False
        """Whether the database has committed, also if a callback has raised an error then."""
        self.callbacks: list[Callback] = []
        self.undos: list[Undo] = []
        self.shared: SharedTransaction | None = None
        """What tasks join that were started inside; only if a rollback is certain."""

    def __call__(  # type: ignore[override]
        self, function: Callable[P, Awaitable[T]]
    ) -> Callable[P, Awaitable[T]]:
        """Decorate a function: every call runs in a new transaction, also when calls overlap."""

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self._copy():
                return await function(*args, **kwargs)

        return wrapper

    def _copy(self) -> "Transaction":
        return Transaction(
            self._find_connection,
            self._force_rollback,
            isolation=self._isolation,
            readonly=self._readonly,
            command_timeout=self._limit,
        )

    async def start(self) -> "Transaction":
        """Begin the transaction.

        If BEGIN fails or is cancelled, the connection is back in the pool, or closed.

        Raises:
            DatabaseError: if this transaction is open already, or cannot have its options.
            DatabaseUnavailable: if the database does not answer, or stays locked.
        """
        if self._current is not None:
            raise DatabaseError(
                "this transaction is open already: call `database.transaction()` for another one"
            )
        connection = self._find_connection()
        depth = len(connection.open_transactions)
        if depth:
            self._refuse_options()
        await connection.__aenter__()
        self._limit_before = connection.session.limit
        if self._limit is not None:
            connection.session.limit = self._limit
        try:
            with connection.translation:
                await self._begin(connection.session, depth)
        except BaseException:
            if not depth:
                # A cancelled BEGIN may be executed already, or be on its way to the server. Back in
                # the pool, the connection would give its next user an open transaction.
                connection.session.discard()
            connection.session.limit = self._limit_before
            await connection.__aexit__()
            raise
        self._current = connection
        self.is_committed = False
        self.callbacks, self.undos = [], []
        connection.open_transactions.append(self)
        if not depth:
            _open.set((*_open.get(), self))
            if self._force_rollback:
                # The owner awaits the tasks that it has started, or is a fixture that waits.
                self.shared = SharedTransaction(
                    connection.session, lambda: connection.open_transactions == [self]
                )
        return self

    def _refuse_options(self) -> None:
        # A savepoint cannot change the isolation of its transaction.
        names = [("isolation", self._isolation is not None), ("readonly", self._readonly)]
        given = " and ".join(name for name, is_given in names if is_given)
        if given:
            raise DatabaseError(
                f"{given} cannot be set inside an open transaction: set it on the outermost "
                "`database.transaction(…)`, where the transaction begins"
            )

    async def _begin(self, session: Session, depth: int) -> None:
        self._savepoint = f"edgy_bus_{depth}" if depth else ""
        if depth:
            await session.issue(f"SAVEPOINT {self._savepoint}")
        else:
            await session.begin(isolation=self._isolation, readonly=self._readonly)

    async def commit(self) -> None:
        """Commit, then run the callbacks of `Database.on_commit`.

        A savepoint passes its callbacks to the enclosing transaction. If the commit fails, the
        transaction is rolled back, as by `rollback`, and the error raised. An error of a callback
        is raised after all callbacks have run; the commit stays.
        """
        connection = self._close()
        try:
            with connection.translation:
                if self._savepoint:
                    await connection.session.issue(f"RELEASE SAVEPOINT {self._savepoint}")
                else:
                    await connection.session.commit()
            self.is_committed = True
        except BaseException:
            await self._undo(connection.session)
            raise
        finally:
            connection.session.limit = self._limit_before
            await connection.__aexit__()
        # Callbacks run after the transaction gave its connection back, so that a callback can open
        # a transaction. Inside, its writes would be lost if COMMIT failed.
        if self._savepoint:
            enclosing = connection.open_transactions[-1]
            enclosing.callbacks.extend(self.callbacks)
            enclosing.undos.extend(self.undos)
        else:
            await _run(self.callbacks)

    async def rollback(self) -> None:
        """Roll back, run the callbacks of `Database.on_rollback`, and drop the others.

        A connection on which ROLLBACK fails is closed, which rolls back as well.
        """
        connection = self._close()
        try:
            await self._undo(connection.session)
        finally:
            connection.session.limit = self._limit_before
            await connection.__aexit__()

    async def _undo(self, session: Session) -> None:
        try:
            if self._savepoint:
                await session.issue(f"ROLLBACK TO SAVEPOINT {self._savepoint}")
                await session.issue(f"RELEASE SAVEPOINT {self._savepoint}")
            else:
                await session.rollback()
        except Exception as error:  # noqa: BLE001 - drivers share no base class
            # Not raised: the caller needs the error that made the rollback necessary. Closing the
            # connection makes the database roll back.
            session.discard()
            telemetry.emit(catalogue.ConnectionDiscarded(error=type(error).__name__))
        except BaseException:
            # Cancelled half way: nobody knows which of the statements the database has executed.
            session.discard()
            raise
        finally:
            # The last change first: each callback finds what its own change has left.
            for undo in reversed(self.undos):
                undo()

    def _close(self) -> Connection:
        """Take this transaction from the stack of open transactions; return its connection."""
        connection = self._current
        if connection is None:
            raise DatabaseError("this transaction is not open")
        if connection.open_transactions[-1] is not self:
            raise DatabaseError("a transaction can end only after those that were begun inside it")
        connection.open_transactions.pop()
        self._current = self.shared = None
        still_open = [transaction for transaction in _open.get() if transaction is not self]
        _open.set(tuple(still_open))
        return connection

    def abandon(self) -> None:
        """Forget that this transaction is open."""
        self._current = None

    def is_open_on(self, database: core.Database) -> bool:
        """Return whether this transaction is open, and on `database`."""
        return self._current is not None and self._current._database is database


def innermost(connection: Connection | None, method: str) -> Transaction:
    """Return the innermost open transaction. Raises `DatabaseError` if there is no transaction."""
    if connection is None or not connection.open_transactions:
        raise DatabaseError(
            f"{method}() needs an open transaction: use it inside "
            "`async with database.transaction():`"
        )
    return connection.open_transactions[-1]


async def _run(callbacks: list[Callback]) -> None:
    """Run every callback in order, then raise the first error."""
    errors: list[Exception] = []
    for callback in callbacks:
        try:
            result = callback()
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001 - raised below
            # The commit has happened: an error in one callback must not suppress later callbacks.
            errors.append(error)
    if errors:
        raise errors[0]
