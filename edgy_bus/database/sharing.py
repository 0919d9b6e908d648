"""Let all tasks of a database work in one transaction that is rolled back at the end: for tests.

Every task gets a session of its own, which works on the connection of the shared transaction. One
task has its turn at a time: from the beginning of its transaction, or of a statement outside of a
transaction, to the end. Its BEGIN, COMMIT and ROLLBACK become a savepoint inside of the shared
transaction.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from databases.interfaces import Record
from sqlalchemy.sql import ClauseElement

from edgy_bus.database.backends.base import RawRow, Result, Session, Translation
from edgy_bus.database.compiling import Arguments, Statement
from edgy_bus.errors import DatabaseError, DatabaseLocked

T = TypeVar("T")

Work = Coroutine[Any, Any, None]
"""Some statements, to be awaited as a task."""

TURN = 10.0
"""Seconds for which a task waits for the turn of another task."""

_SAVEPOINT = "edgy_bus_shared"


class SharedTransaction:
    """Share a session, whose transaction is open, between tasks.

    Args:
        session: the session.
        may_join: returns whether the owner of the session does nothing with it now.
    """

    def __init__(self, session: Session, may_join: Callable[[], bool] = lambda: True) -> None:
        self.session = session
        self.failure = ""
        """Why no task can work in the transaction any more."""
        self._may_join = may_join
        self._turn = asyncio.Lock()
        self._cleaning: set[asyncio.Task[None]] = set()

    def join(self) -> "JoinedSession":
        """Return a session for a task."""
        return JoinedSession(self)

    async def take_turn(self) -> None:
        """Wait until no other task works in the transaction.

        Raises:
            DatabaseError: if the transaction has ended, or its owner is using the connection.
            DatabaseLocked: if another task does not end its turn.
        """
        try:
            async with asyncio.timeout(TURN):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseLocked(
                f"another task has kept the shared transaction of this test for {TURN:g} s: tasks "
                "take turns in it; does that task wait for this one inside of its transaction?"
            ) from None
        try:
            self._check()
        except DatabaseError:
            self.give_turn()
            raise

    def _check(self) -> None:
        if self.failure:
            raise DatabaseError(self.failure)
        if not self._may_join():
            raise DatabaseError(
                "this task was started inside a transaction(force_rollback=True) of another task, "
                "which has begun a nested transaction: await the operation in that task, or start "
                "this task outside of the nested transaction"
            )

    def give_turn(self) -> None:
        """Let the next task work."""
        self._turn.release()

    def clean_up(self, work: Work) -> None:
        """Undo what a task has left, in the background, and give its turn to the next task."""
        task = asyncio.get_running_loop().create_task(self._cleaned(work))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _cleaned(self, work: Work) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - drivers share no base class
            self.failure = (
                "the shared transaction of this test was lost, because the work of a cancelled "
                f"task could not be undone ({type(error).__name__}); the next test has another"
            )
        finally:
            self.give_turn()

    async def end(self) -> None:
        """Wait for the task whose turn it is, and let no other task in."""
        try:
            async with asyncio.timeout(TURN):
                await self._turn.acquire()
        except TimeoutError:
            self.failure = self.failure or "the shared transaction of a test was rolled back"
            return
        self.failure = self.failure or (
            "the shared transaction of a test was rolled back, and this task still uses the "
            "database: end what the test has started before the test ends"
        )
        self.give_turn()


class JoinedSession(Session):
    """Run the statements of a task in a shared transaction.

    Isolation levels and `readonly` have no effect: they belong to the outermost transaction.
    """

    def __init__(self, shared: SharedTransaction) -> None:
        self._shared = shared
        self._inner = shared.session
        self._has_turn = False
        self._in_transaction = False
        self._is_open = False
        """Whether the savepoint of this session exists."""
        self._issuing: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        """Wait for the turn of this task."""
        await self._shared.take_turn()
        self._has_turn = True

    async def release(self) -> None:
        """End the turn of this task."""
        self.discard()

    def discard(self) -> None:
        """End the turn of this task, and undo a transaction that is open. Never waits."""
        if not self._has_turn:
            return
        self._has_turn = self._in_transaction = False
        # A statement that was cancelled on its way may have opened the savepoint, or may still.
        if self._is_open or self._issuing is not None:
            self._shared.clean_up(self._undo_rest())
        else:
            self._shared.give_turn()

    async def _undo_rest(self) -> None:
        await _behind(self._issuing, self._take_back())

    # Savepoints

    async def _surely(self, work: Work) -> None:
        """Run a statement of this class to its end, also if the task is cancelled meanwhile.

        Otherwise nobody would know whether the savepoint exists.
        """
        loop, before = asyncio.get_running_loop(), self._issuing
        task = self._issuing = loop.create_task(_behind(before, work))
        await asyncio.shield(task)
        self._issuing = None

    async def _begin(self) -> None:
        await self._inner.issue(f"SAVEPOINT {_SAVEPOINT}")
        self._is_open = True

    async def _keep(self) -> None:
        await self._inner.issue(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        self._is_open = False

    async def _take_back(self) -> None:
        # Asked only now: a statement before may just have opened the savepoint, or released it.
        if not self._is_open:
            return
        await self._inner.issue(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        await self._inner.issue(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        self._is_open = False

    async def begin(self, *, isolation: str | None, readonly: bool) -> None:
        """Open a savepoint in the shared transaction."""
        del isolation, readonly
        self._in_transaction = True
        await self._surely(self._begin())

    async def commit(self) -> None:
        """Keep the changes of this task until the shared transaction ends."""
        await self._surely(self._keep())
        self._in_transaction = False

    async def rollback(self) -> None:
        """Take the changes of this task back."""
        self._in_transaction = False
        await self._surely(self._take_back())

    # Statements

    async def _run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run a statement; outside of a transaction, a statement that fails changes nothing."""
        self._inner.limit = self.limit
        if self._in_transaction:
            return await work()
        # PostgreSQL would refuse every later statement of the shared transaction.
        await self._surely(self._begin())
        try:
            answer = await work()
        except Exception:
            await self._surely(self._take_back())
            raise
        await self._surely(self._keep())
        return answer

    async def fetch(self, statement: Statement) -> Result:
        """Run a statement, and convert its rows to Python's types."""
        return await self._run(lambda: self._inner.fetch(statement))

    async def read(self, statement: Statement) -> Sequence[RawRow]:
        """Run a statement that returns rows, without conversion of their values."""
        return await self._run(lambda: self._inner.read(statement))

    async def run_many(self, sql: str, arguments: Sequence[Arguments]) -> None:
        """Run a statement once for each tuple of values."""
        await self._run(lambda: self._inner.run_many(sql, arguments))

    async def issue(self, sql: str) -> None:
        """Run a statement of the library."""
        await self._run(lambda: self._inner.issue(sql))

    async def script(self, sql: str) -> None:
        """Run several statements of text."""
        await self._run(lambda: self._inner.script(sql))

    # The methods of `databases`

    async def fetch_all(self, query: ClauseElement) -> list[Record]:
        """Run a query for `databases`."""
        return await self._run(lambda: self._inner.fetch_all(query))

    async def fetch_one(self, query: ClauseElement) -> Record | None:
        """Run a query for `databases`, and return its first row."""
        return await self._run(lambda: self._inner.fetch_one(query))

    async def execute(self, query: ClauseElement) -> Any:
        """Run a statement for `databases`."""
        return await self._run(lambda: self._inner.execute(query))

    async def execute_many(self, queries: list[ClauseElement]) -> None:
        """Run statements for `databases`."""
        await self._run(lambda: self._inner.execute_many(queries))

    async def iterate(self, query: ClauseElement) -> AsyncGenerator[Any, None]:
        """Run a query for `databases`, and yield its rows."""
        async with aclosing(self._inner.iterate(query)) as rows:
            async for row in rows:
                yield row

    @property
    def raw_connection(self) -> Any:
        """Return the driver's connection, which works in the shared transaction."""
        return self._inner.raw_connection


async def _behind(before: "asyncio.Task[None] | None", work: Work) -> None:
    """Do some work after the end of a task, however that ends."""
    if before is not None:
        await asyncio.wait([before])
    await work


@asynccontextmanager
async def sharing(session: Session, translation: Translation) -> AsyncIterator[SharedTransaction]:
    """Open a transaction on a session that holds no connection yet, and roll it back at the end."""
    try:
        with translation:
            await session.acquire()
            await session.begin(isolation=None, readonly=False)
        shared = SharedTransaction(session)
        try:
            yield shared
        finally:
            await shared.end()
            await session.rollback()
    except BaseException:
        session.discard()
        raise
    finally:
        await session.release()
