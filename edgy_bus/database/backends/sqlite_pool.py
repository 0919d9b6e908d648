"""Keep the connections to a SQLite file, and the order of the tasks that use them."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import quote, urlencode

from databases.backends import sqlite
from databases.core import DatabaseURL

from edgy_bus.database.backends.sqlite_connection import ThreadConnection
from edgy_bus.database.home import refuse_to_leave
from edgy_bus.database.url import Target

KEPT_OPEN = 4
"""Idle connections that stay open; each is a thread."""

_MEMORY = ("", ":memory:")
_POLL = 0.01
_CLOSE_TIMEOUT = 5.0
"""Seconds that `close` waits for threads, of which some may be busy with a long statement."""

_inherited: list[object] = []
"""Connections of the parent process, kept for ever in a forked process.

SQLite forbids to use them in the child, and even to close them."""


@dataclass(eq=False, slots=True)
class Home:
    """Hold the parts of a pool that belong to one event loop.

    Attributes:
        loop: the event loop.
        turn: lets one task at a time use a database in memory.
        write_lock: the queue of the tasks that write.
        busy: connections that tasks use.
    """

    loop: asyncio.AbstractEventLoop
    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    write_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    busy: set[ThreadConnection] = field(default_factory=set)


class Pool(sqlite.SQLitePool):
    """Open connections, and keep some of the released connections for the next task."""

    # A database in memory exists once per connection. It has a single connection here, and tasks
    # wait for their turn; a second connection would see an empty database.

    def __init__(self, target: Target, options: Mapping[str, object]) -> None:
        self._target = target
        self._options = {**target.options, **options}
        self._in_memory = DatabaseURL(target.address).database in _MEMORY
        self._home: Home | None = None
        self.lock_timeout = cast(float, self._options["timeout"])
        self._idle: list[ThreadConnection] = []
        self._stopping: set[asyncio.Future[object]] = set()
        self._memref = None

    @property
    def home(self) -> Home:
        """Return what belongs to the running event loop.

        Raises:
            DatabaseError: if another event loop still uses this pool.
        """
        loop = asyncio.get_running_loop()
        home = self._home
        if home is None or home.loop is not loop:
            if home is not None:
                self._leave(home)
            self._home = home = Home(loop)
        return home

    def _leave(self, home: Home) -> None:
        """Take over the connections of an event loop that has ended."""
        refuse_to_leave(home.loop, busy=bool(home.busy))
        self._stopping.clear()
        for connection in home.busy:
            if self._in_memory:
                connection.roll_back_soon()
                self._idle.append(connection)
            else:
                self._stop(connection)

    def abandon(self) -> None:
        """Forget the connections of the parent process; their threads do not exist here."""
        _inherited.extend(self._idle)
        if self._home is not None:
            _inherited.extend((self._home, *self._home.busy))
        self._idle, self._home, self._stopping = [], None, set()

    async def take(self, home: Home) -> ThreadConnection:
        """Return an idle connection, or open a new connection; `home` is this loop's."""
        if self._in_memory:
            await home.turn.acquire()
        try:
            connection = self._idle.pop() if self._idle else await self._open()
        except BaseException:
            self._pass_on(home)
            raise
        home.busy.add(connection)
        return connection

    async def _open(self) -> ThreadConnection:
        name, uri = self._file()
        connect = cast("type[sqlite3.Connection]", sqlite3.connect)
        connection = ThreadConnection(
            partial(connect, name, isolation_level=None, uri=uri, **self._options)
        )
        try:
            await connection
            await connection.execute_fetchall("PRAGMA foreign_keys = ON")
            if "mode" not in self._target.uri and "immutable" not in self._target.uri:
                await self._write_ahead(connection)
        except BaseException:
            connection.stop()
            await connection.join()
            raise
        return connection

    async def _write_ahead(self, connection: ThreadConnection) -> None:
        """Switch the file to the write-ahead log, which lets readers and a writer work together."""
        # The busy timeout does not apply to this PRAGMA: with several processes that start
        # together, SQLite refuses all but the first at once, so this method polls.
        deadline = time.monotonic() + self.lock_timeout
        while True:
            try:
                await connection.execute_fetchall("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(_POLL)

    def _file(self) -> tuple[str, bool]:
        name = DatabaseURL(self._target.address).database
        if not self._target.uri:
            return name, False
        return f"file:{quote(name)}?{urlencode(self._target.uri)}", True

    def give_back(self, connection: ThreadConnection, home: Home) -> None:
        """Keep or close a connection of `take`. Never waits: no cancellation can interrupt it."""
        if not self._is_busy(connection, home):
            return
        if len(self._idle) < KEPT_OPEN:
            self._keep(connection, home)
        else:
            self._end(connection, home)

    def discard(self, connection: ThreadConnection, home: Home) -> None:
        """Interrupt a connection, roll its transaction back, and close the connection.

        The only connection of a database in memory stays open: its end would be the end of the
        database.
        """
        if not self._is_busy(connection, home):
            return
        if self._in_memory:
            connection.roll_back_soon()
            self._keep(connection, home)
        else:
            self._end(connection, home)

    def _is_busy(self, connection: ThreadConnection, home: Home) -> bool:
        """Take a connection from the busy ones; False if it belongs to this pool no more."""
        # A task of a closed loop may be collected late, and then give back a connection that a task
        # of the next loop uses.
        if home is not self._home or connection not in home.busy:
            return False
        home.busy.discard(connection)
        return True

    def _keep(self, connection: ThreadConnection, home: Home) -> None:
        self._idle.append(connection)
        self._pass_on(home)

    def _end(self, connection: ThreadConnection, home: Home) -> None:
        self._stop(connection)
        self._pass_on(home)

    def _stop(self, connection: ThreadConnection) -> None:
        # The thread may be busy with a long statement. Without the interruption, the write lock
        # would be held until the end of that statement.
        connection.interrupt_now()
        stopping = connection.stop()
        if stopping is not None:
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    def _pass_on(self, home: Home) -> None:
        if self._in_memory:
            home.turn.release()

    async def close(self) -> None:
        """Close the idle connections, and wait a while for the end of their threads."""
        _ = self.home  # takes over what an earlier event loop has left open
        # All of them before the first await: a cancellation leaves no connection open.
        while self._idle:
            self._stop(self._idle.pop())
        if self._stopping:
            # A thread reports its end to the event loop, which may be closed soon after this call.
            await asyncio.wait(self._stopping, timeout=_CLOSE_TIMEOUT)
        if self._home is not None and not self._home.busy:
            self._home = None  # any event loop can be the next

    def is_at(self, home: Home | None) -> bool:
        """Return whether the connections of a home still belong to the home."""
        return home is not None and home is self._home


def primary_code(error: sqlite3.Error) -> int:
    """Return the primary result code; 0 for an error of the `sqlite3` module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
