"""Hold the work of a tenure, and say whether there is room for more."""

import asyncio

from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import Lanes
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools


class InHand:
    """Hold jobs in lanes, and entries that are still to be reported to the broker.

    Attributes:
        lanes: the jobs.
        acknowledger: reports entries to the broker.
    """

    def __init__(self, term: Term, tools: Tools) -> None:
        settings = tools.settings
        self.lanes: Lanes[Work] = Lanes()
        self.acknowledger = Acknowledger(
            tools.broker, term.lease, settings.backoff, self.check_room
        )
        self._prefetch = settings.prefetch
        self._worthwhile = max(1, settings.prefetch // 2)
        self._most_owed = settings.prefetch * 4
        self._room = asyncio.Event()

    def has_room(self) -> bool:
        """Return whether another read is worth its round trip, and memory stays bounded.

        There is room for half of the jobs that may be in hand, and nearly all finished entries were
        reported.
        """
        # The second condition is for a broker that answers reads and refuses writes, as a full
        # Redis does: finished entries would fill the memory of this process.
        return (
            self.lanes.room(self._prefetch) >= self._worthwhile
            and len(self.acknowledger) <= self._most_owed
        )

    def room(self) -> int:
        """Return how many more entries may be read."""
        return self.lanes.room(self._prefetch)

    def check_room(self) -> None:
        """Wake up `wait_for_room` if there is room. Called after every change that makes room."""
        if not self._room.is_set() and self.has_room():
            self._room.set()

    async def wait_for_room(self) -> None:
        """Wait until there is room, or until `stop`."""
        self._room.clear()
        await self._room.wait()

    def stop(self) -> None:
        """Make `wait_for_room` return."""
        self._room.set()
