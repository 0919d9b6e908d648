"""Wakes relays in other processes after a commit, where the database can (PostgreSQL's NOTIFY).

NOTIFY takes a lock that all committing transactions share. So it is never sent inside an operation's transaction, and one
notification stands for all commits while the one before is on its way, and for `GAP` after it.
"""

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.services import Bell, Service

CHANNEL = "edgy_bus_outbox"
GAP = 0.002
"""Seconds between notifications: a relay that was woken reads all that was committed until it looks."""


class Notifier(Service):
    """Sends a notification for every ring, several rings being one."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._bell = Bell()

    def ring(self) -> None:
        self._bell.ring()

    async def stop(self) -> None:
        self.stopping.set()
        self._bell.ring()
        await self.wait()

    async def run(self) -> None:
        while not self.stopping.is_set():
            if not await self._bell.wait(60):
                continue
            try:
                await self._database.notify(CHANNEL)
            except Exception as error:  # noqa: BLE001 - drivers share no base class; relays also look by themselves
                telemetry.emit("notifier.failed", error=type(error).__name__)
            await self.pause(GAP)
