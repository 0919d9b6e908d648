"""Say to which event loop and which process the connections of a database belong.

A connection lives in the event loop and in the process that opened it. A database object lives in a
module, and outlasts both: tests and scripts run one loop after another, and servers fork.
"""

import asyncio
import os
from typing import Protocol
from weakref import WeakSet

from edgy_bus.errors import DatabaseError

FORKED = (
    "the database was connected before this process was forked, and a connection cannot be used by "
    "two processes: call `await database.connect()` in this process (with gunicorn --preload: at "
    "the start of each worker)"
)


def refuse_to_leave(loop: asyncio.AbstractEventLoop, *, busy: bool) -> None:
    """Refuse to move a database away from an event loop that may still use its connections.

    Args:
        loop: the loop in which the connections were opened.
        busy: whether tasks of that loop hold connections.

    Raises:
        DatabaseError: if the loop runs, or holds connections and was not closed.
    """
    if loop.is_running() or (busy and not loop.is_closed()):
        raise DatabaseError(
            "the database is in use in another event loop (of another thread, or with unfinished "
            "tasks): a database belongs to one event loop at a time. Disconnect it there first, or "
            "use a Database of its own for each loop"
        )


class Resident(Protocol):
    """Describe an object with connections, which a forked process must not touch."""

    def abandon(self) -> None:
        """Forget every connection in a forked process."""


_residents: WeakSet[Resident] = WeakSet()


def settle(resident: Resident) -> None:
    """Call `resident.abandon()` in every process that is forked from now on."""
    _residents.add(resident)


def _abandon_all() -> None:
    for resident in tuple(_residents):
        resident.abandon()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_abandon_all)
