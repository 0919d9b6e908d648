"""Open the transaction of a receiver with an inbox, no matter how long others keep the database.

Waiting for a turn is no failed attempt: nothing is wrong with the event. SQLite lets a single
transaction write to a file, and a receiver with an inbox writes for as long as it runs. With as
many receivers as a process has slots, the last of them would wait for longer than the lock timeout
of SQLite, each time anew. And receivers that hold every connection of a pool keep the relay of
their process waiting. So the receivers of a process wait in a queue of their own, in order and
without a limit: the deadline of a call begins when the receiver begins.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError, TryAgain
from edgy_bus.services import PerLoop
from edgy_bus.signals import Inbox
from edgy_bus.telemetry import catalogue

REPORTED_EVERY = 60.0
"""Seconds between two notices about the same inbox."""

_RESERVED = 4
"""One of so many connections of a pool is for others than receivers with an inbox."""

_PAUSE = 0.05
"""Seconds before another attempt: some locks are refused at once."""


class _Queue:
    """The receivers that wait for a database, in the event loop of their worker.

    `turns` is None where any number of transactions may be open.
    """

    def __init__(self, at_once: int | None) -> None:
        self.turns = None if at_once is None else asyncio.Semaphore(at_once)
        self.next_report = 0.0


_queues: PerLoop[dict[int, _Queue]] = PerLoop(dict)
"""By identity, because an inbox may have no hash."""


def _queue_of(inbox: Inbox) -> _Queue:
    queues = _queues.get()
    if id(inbox) not in queues:
        queues[id(inbox)] = _Queue(_at_once(inbox))
    return queues[id(inbox)]


def _at_once(inbox: Inbox) -> int | None:
    """Return how many receivers may have a transaction of a database open at the same time."""
    if inbox.dialect.name == "sqlite":
        return 1  # A transaction keeps all others of the file from writing.
    connections = inbox.max_connections if isinstance(inbox, Database) else None
    # Some connections stay for everybody else: a relay of this process, and receivers that read.
    # Slow receivers would keep them waiting for as long as they run.
    return None if connections is None else max(1, connections - max(1, connections // _RESERVED))


class CallTime:
    """Measure the time of a call, from the moment when the receiver begins.

    Attributes:
        waiting: whether the receiver has not begun, because it waits its turn.
    """

    __slots__ = ("_limit", "_seconds", "waiting")

    def __init__(self, *, waiting: bool) -> None:
        self.waiting = waiting
        self._seconds = 0.0
        self._limit: asyncio.Timeout | None = None

    def limited(self, seconds: float) -> asyncio.Timeout:
        """Return a limit of so many seconds, which count from `begin`."""
        self._seconds = seconds
        self._limit = asyncio.timeout(None if self.waiting else seconds)
        return self._limit

    def begin(self) -> None:
        """Begin to count: the receiver is called now."""
        self.waiting = False
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)


def report_wait(inbox: Inbox, receiver: str, error: DatabaseError) -> None:
    """Report that receivers wait for a database, at most once a minute."""
    queue, now = _queue_of(inbox), asyncio.get_running_loop().time()
    if now >= queue.next_report:
        queue.next_report = now + REPORTED_EVERY
        telemetry.emit(catalogue.InboxWaits(receiver=receiver, error=str(error)))


class Turn:
    """A transaction of an inbox, opened as soon as other transactions allow.

    Args:
        inbox: the database.
        receiver: the group and the name of the receiver, for notices.
    """

    def __init__(self, inbox: Inbox, receiver: str) -> None:
        self._inbox = inbox
        self._receiver = receiver
        self._turns: asyncio.Semaphore | None = None
        self._transaction: AbstractAsyncContextManager[object] | None = None

    async def __aenter__(self) -> None:
        turns = _queue_of(self._inbox).turns
        if turns is not None:
            await turns.acquire()
            self._turns = turns
        try:
            self._transaction = await self._opened()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._transaction is not None:
                await self._transaction.__aexit__(kind, error, trace)
        finally:
            self._leave()

    async def _opened(self) -> AbstractAsyncContextManager[object]:
        while True:
            transaction = self._inbox.transaction()
            try:
                await transaction.__aenter__()
            except TryAgain as error:
                report_wait(self._inbox, self._receiver, error)
                await asyncio.sleep(_PAUSE)
            else:
                return transaction

    def _leave(self) -> None:
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()
