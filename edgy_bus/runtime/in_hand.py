"""Hold the work of a tenure, and say whether there is room for more."""

import asyncio

from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import MOST, Lanes
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools


class InHand:
    """Hold jobs in lanes, and entries that are still to be reported to the broker.

    Attributes:
        lanes: the jobs.
        acknowledger: reports entries to the broker.
    """

    def __init__(self, term: Term, tools: Tools, attendance: Attendance) -> None:
        settings = tools.settings
        self._term = term
        self._load = tools.load
        self._portion = tools.portion
        self.lanes: Lanes[Work] = Lanes(tools.load)
        self.acknowledger = Acknowledger(
            tools.broker, term.lease, settings.backoff, self.check_room, attendance.gone
        )
        self._prefetch = settings.prefetch
        self._worthwhile = max(1, settings.prefetch // 2)
        self._most_owed = settings.prefetch * 4
        self._room = asyncio.Event()

    def has_room(self) -> bool:
        """Return whether another read is worth its round trip, and memory stays bounded.

        Receivers may begin, there is room for half of the jobs that may be in hand, nearly all
        finished entries were reported, and the process has room for the bytes of a read.
        """
        # The second condition is for a broker that answers reads and refuses to settle: finished
        # entries would fill the memory of this process.
        return (
            self._term.begins
            and self.lanes.room(self._prefetch) >= self._worthwhile
            and len(self.acknowledger) <= self._most_owed
            and self._load.has_room(self._portion.size)
        )

    def is_full(self) -> bool:
        """Return whether jobs that wait keep others from being read, however many are done."""
        return MOST - self.lanes.total < self._worthwhile or self._load.is_full

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
        # Other partitions of the process may have the room.
        self._load.wait(self._look_again)
        await self._room.wait()

    def _look_again(self) -> None:
        if not self._room.is_set() and not self.has_room():
            self._load.wait(self._look_again)
        self.check_room()

    def stop(self) -> None:
        """Make `wait_for_room` return."""
        self._load.forget(self._look_again)
        self._room.set()

    def drop(self) -> None:
        """Count the jobs no more: the next owner of the partition has their entries."""
        self.lanes.drop()
