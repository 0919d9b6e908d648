"""Hold the work of a tenure, and say whether there is room for more."""

import asyncio

from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import MOST, Lanes
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.runtime.waits import Waits


class InHand:
    """Hold jobs in lanes, and entries that are still to be reported to the broker.

    Attributes:
        lanes: the jobs.
        acknowledger: reports entries to the broker.
        waits: the times for which calls wait.
    """

    def __init__(self, term: Term, tools: Tools, attendance: Attendance) -> None:
        settings = tools.settings
        self._term = term
        self._attendance = attendance
        self._load = tools.load
        self._portion = tools.portion
        self.lanes: Lanes[Work] = Lanes(tools.load)
        self.waits = Waits()
        self.acknowledger = Acknowledger(
            tools.broker,
            term.lease,
            settings.backoff,
            self.check_room,
            attendance.gone,
            prefetch=settings.prefetch,
        )
        self._prefetch = settings.prefetch
        self._worthwhile = max(1, settings.prefetch // 2)
        self._most_owed = settings.prefetch * 4
        self._room = asyncio.Event()
        self._turn: asyncio.Future[bool] | None = None

    def begin(self) -> None:
        """Take part in the room of the process, until `drop`."""
        self._load.tenures += 1

    def has_room(self) -> bool:
        """Return whether another read is worth its round trip.

        Receivers may begin, there is room for half of the jobs that may be in hand, and nearly all
        finished entries were reported.
        """
        # The second condition is for a broker that answers reads and refuses to settle: finished
        # entries would fill the memory of this process.
        return (
            self._term.begins
            and self.room() >= self._worthwhile
            and self._load.left_for(self.lanes.waiting) > 0
            and len(self.acknowledger) <= self._most_owed
        )

    def is_full(self) -> bool:
        """Return whether jobs that wait keep others from being read, however many are done."""
        left = self._load.left_for(self.lanes.waiting)
        return MOST - self.lanes.total < self._worthwhile or left <= 0

    def room(self) -> int:
        """Return how many more entries may be read."""
        return self.lanes.room(self._prefetch, counts_stalled=not self._attendance.is_shared)

    def check_room(self) -> None:
        """Wake up `reserve` if there is room. Called after every change that makes room."""
        if not self._room.is_set() and self.has_room():
            self._room.set()

    async def reserve(self) -> int:
        """Wait until there is room here and in the process, and keep the room for a read.

        Returns the bytes that may be read. The caller gives them back with `Load.release`. 0: the
        tenure stops, and nothing is kept.
        """
        while not self._term.stopping:
            if not self.has_room():
                self._room.clear()
                await self._room.wait()
                continue
            size = min(self._portion.size, self._load.left_for(self.lanes.waiting))
            if not await self._process_keeps(size):
                return 0
            if self.has_room() and not self._term.stopping:
                return size
            # While others were served, released rows came in, or a handover or the stop began.
            self._load.release(size)
        return 0

    async def _process_keeps(self, size: int) -> bool:
        turn = self._turn = self._load.stand_in_line(size)
        try:
            return await turn
        except asyncio.CancelledError:
            self._load.leave(turn)
            # The turn may have come just before.
            if not turn.cancelled() and turn.result():
                self._load.release(size)
            raise

    def stop(self) -> None:
        """Make `reserve` return."""
        if self._turn is not None:
            self._load.leave(self._turn)
        self._room.set()

    def drop(self) -> None:
        """Count the jobs no more: the next owner of the partition has their entries."""
        self._load.tenures -= 1
        self.lanes.drop()
