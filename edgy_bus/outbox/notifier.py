"""Wakes relays in other processes after a commit, where the database can (PostgreSQL's NOTIFY).

NOTIFY takes a lock that all committing transactions share. So no operation sends a notification
inside its transaction, and a single notification stands for all commits while the notification
before is on its way, and for `GAP` after that.
"""

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError
from edgy_bus.services import Bell, Service
from edgy_bus.telemetry import catalogue

CHANNEL = "edgy_bus_outbox"
GAP = 0.002
"""Seconds between notifications: a woken relay reads everything that has been committed by then."""

_LONGEST_WAIT = 60.0


class Notifier(Service):
    """Sends notifications after rings: several rings may share a notification.

    A ring before `stop` is still passed on.
    """

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._bell = Bell()
        self._due = False

    def ring(self) -> None:
        """Note a commit. Called after every commit, so the call does not wait."""
        self._due = True
        self._bell.ring()

    def ask_to_stop(self) -> None:
        super().ask_to_stop()
        self._bell.ring()

    async def run(self) -> None:
        while not self.stopping.is_set():
            self.progress.note(rests=_LONGEST_WAIT)
            await self._bell.wait(_LONGEST_WAIT)
            await self._notify()
            await self.pause(GAP)
        # A ring during the gap would wait for the next turn, which does not come.
        await self._notify()

    async def _notify(self) -> None:
        if not self._due:
            return
        # Before the notification: a ring on its way needs a notification of its own.
        self._due = False
        try:
            await self._database.notify(CHANNEL)
        except DatabaseError as error:
            # Nothing is lost: relays also look by themselves.
            telemetry.emit(catalogue.NotifierFailed(error=type(error).__name__))
