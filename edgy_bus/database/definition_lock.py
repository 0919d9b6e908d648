"""Let one session of PostgreSQL at a time create, change or drop tables.

Two processes that start together would both find a table missing. CREATE TABLE IF NOT EXISTS does
not lock, and the second process would fail on a constraint of the catalogue.

A statement that changes a table waits for every open transaction on the table, and all later
writers wait behind the statement. Short attempts with pauses keep these writers running.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from edgy_bus.database.backends.base import Session
from edgy_bus.database.compiling import Columns, Row, Statement
from edgy_bus.errors import DatabaseLocked, DefinitionLocked

T = TypeVar("T")

KEY = 0x6564_6779
"""Key of the advisory lock: "edgy" in ASCII."""

PATIENCE = 60.0
"""Seconds that a session waits for the lock."""

TABLE_TIMEOUT = "1s"
"""Longest wait of an attempt for the lock of a table."""

ATTEMPTS = 15
PAUSE = 1.0
"""Seconds between attempts, in which the writers that queued can go on."""

_POLL = 0.1

_TRY = Statement(
    f"SELECT pg_try_advisory_xact_lock({KEY}) AS locked", (), True, Columns(("locked",), ()), True
)
_TIMEOUT = Statement(
    "SELECT current_setting('lock_timeout') AS former", (), True, Columns(("former",), ()), True
)
_HOLDER = Statement(
    "SELECT a.pid, a.usename::text AS role, a.application_name AS application, a.state, "
    "extract(epoch FROM now() - a.xact_start)::int AS seconds "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = $1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    (KEY,),
    True,
    Columns(("pid", "role", "application", "state", "seconds"), ()),
    harmless=True,
)


async def in_attempts(change: Callable[[], Awaitable[T]], tables: str) -> T:
    """Change tables in a transaction, again after a pause if other transactions lock a table.

    Args:
        change: runs `Database.defining`.
        tables: names the tables in an error.

    Raises:
        DatabaseLocked: if the tables stay locked.
    """
    failure: DatabaseLocked | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE)
        try:
            return await change()
        except DefinitionLocked:
            raise  # the wait was long enough
        except DatabaseLocked as error:
            failure = error
    raise DatabaseLocked(
        f"{tables} could not be changed, because other transactions keep them locked: end long "
        f"transactions, then start again ({failure})"
    ) from failure


@asynccontextmanager
async def defining(session: Session) -> AsyncIterator[None]:
    """Take the lock until the end of the session's transaction, and limit waits for tables inside.

    Raises:
        DefinitionLocked: if another session has the lock for too long; names the session.
    """
    await _lock(session)
    former = (await session.fetch(_TIMEOUT)).rows[0]["former"]
    await session.issue(f"SET LOCAL lock_timeout = '{TABLE_TIMEOUT}'")
    yield
    # The transaction may go on around a savepoint. After an error the rollback restores the limit.
    await session.issue(f"SET LOCAL lock_timeout = '{former}'")


async def _lock(session: Session) -> None:
    # Polled, because a wait that times out would fail the transaction, and with it the question who
    # holds the lock.
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not (await session.fetch(_TRY)).rows[0]["locked"]:
        if loop.time() >= deadline:
            holders = (await session.fetch(_HOLDER)).rows
            raise DefinitionLocked(_text(holders))
        await asyncio.sleep(_POLL)


def _text(holders: list[Row]) -> str:
    by = "; ".join(_describe(holder) for holder in holders) or "a session that has just ended"
    return (
        f"another session has been changing tables for more than {PATIENCE:g} s: {by}. Wait for "
        "its end, or end it with SELECT pg_terminate_backend(pid), and start again"
    )


def _describe(holder: Row) -> str:
    application = holder["application"] or "without application_name"
    return (
        f"pid {holder['pid']} (role {holder['role']}, {application}, {holder['state']}, its "
        f"transaction is {holder['seconds']} s old)"
    )
