"""Run a SQLite connection in a thread of its own, without values in the log of aiosqlite."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, cast

import aiosqlite
from aiosqlite.core import _connection_worker_thread

_Future = asyncio.Future[Any]
_Function = Callable[[], Any]
_Job = tuple[_Future | None, _Function]
"""What aiosqlite's thread executes, and the future of the result."""


class _Report:
    """Report the result of a job to its event loop, unless that loop was closed meanwhile.

    Stands for the future of a job. aiosqlite's thread calls the methods, and would end without a
    word if the event loop was closed: every later statement would wait for ever.
    """

    def __init__(self, future: _Future) -> None:
        self._future = future

    def get_loop(self) -> "_Report":
        return self

    def call_soon_threadsafe(self, report: Callable[..., Any], _: object, value: object) -> None:
        with suppress(RuntimeError):  # closed
            self._future.get_loop().call_soon_threadsafe(report, self._future, value)


class _Jobs(SimpleQueue[_Job]):
    """Queue the jobs of a connection's thread."""

    def put_nowait(self, item: _Job) -> None:
        """Add a job of aiosqlite's own."""
        future, function = item

        # aiosqlite writes every job to its log at DEBUG. The text of a partial contains the values
        # of the statement; the text of a local function does not.
        def job() -> Any:
            return function()

        self.add(future, job)

    def add(self, future: _Future | None, job: _Function) -> None:
        """Add a job whose text contains no values."""
        # The thread calls nothing of the future but the methods of `_Report`.
        report = None if future is None else cast(_Future, _Report(future))
        self.put((report, job))


_TRIES = 5


def _clean(connection: sqlite3.Connection) -> None:
    # An interruption that was meant for a cancelled statement behind may hit the rollback.
    for _ in range(_TRIES):
        with suppress(sqlite3.OperationalError):
            if connection.in_transaction:
                connection.rollback()
            connection.execute("PRAGMA query_only = OFF").close()
            return


class ThreadConnection(aiosqlite.Connection):
    """Run the statements of a SQLite connection in a thread.

    Args:
        connect: opens the connection; called in the thread.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=64)
        self._tx: _Jobs = _Jobs()
        # A daemon: a process that forgets to disconnect must be able to exit.
        self._thread = Thread(target=_connection_worker_thread, args=(self._tx,), daemon=True)

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # All statements come here. Written out instead of calling aiosqlite's method, which would
        # build a partial and a second coroutine for each of them.
        if not self._running or not self._connection:
            raise sqlite3.ProgrammingError("the connection is closed")
        future = asyncio.get_running_loop().create_future()
        self._tx.add(future, lambda: fn(*args, **kwargs))
        try:
            return await future
        except asyncio.CancelledError:
            # Nobody waits for the statement any more. Otherwise the rollback of its transaction
            # would wait for its end, which may take minutes.
            self.interrupt_now()
            raise

    def interrupt_now(self) -> None:
        """Interrupt the statement that runs, if any."""
        # Closed: the thread closes the connection first, and drops it a moment later.
        with suppress(ValueError, sqlite3.ProgrammingError):
            self._conn.interrupt()

    def roll_back_soon(self) -> None:
        """Interrupt the statement that runs, and roll back after all statements that wait.

        Never waits. A later statement runs after the rollback, because the thread runs its jobs in
        order.
        """
        self.interrupt_now()
        with suppress(ValueError):
            self._tx.put_nowait((None, partial(_clean, self._conn)))

    async def join(self) -> None:
        """Wait for the end of the thread, after `stop`."""
        await asyncio.to_thread(self._thread.join)
