"""Wakes relays in other processes after a commit, where the database can (PostgreSQL's NOTIFY).

NOTIFY takes a lock that all committing transactions share. So it is never sent inside an operation's transaction, and one
notification stands for all commits while the one before is on its way, and for `GAP` after it.
"""

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError
from edgy_bus.services import Bell, Service
from edgy_bus.telemetry import catalogue

CHANNEL = "edgy_bus_outbox"
GAP = 0.002
"""Seconds between notifications: a relay that was woken reads all that was committed until it looks."""


class Notifier(Service):
    """Sends a notification for every ring, several rings being one. What was rung for before it is stopped is still told."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._bell = Bell()
        self._due = False

    def ring(self) -> None:
        self._due = True
        self._bell.ring()

    async def stop(self) -> None:
        self.stopping.set()
        self._bell.ring()
        await self.wait()

    async def run(self) -> None:
        while not self.stopping.is_set():
            await self._bell.wait(60)
            await self._notify()
            await self.pause(GAP)
        await self._notify()

    async def _notify(self) -> None:
        if not self._due:
            return
        self._due = False
        try:
            await self._database.notify(CHANNEL)
        except DatabaseError as error:  # relays also look by themselves
            telemetry.emit(catalogue.NotifierFailed(error=type(error).__name__))
