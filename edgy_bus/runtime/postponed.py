"""Let lanes wait for a time: until the next attempt at their first job, or the end of a snooze."""

import asyncio
from collections.abc import Callable

from edgy_bus.runtime.jobs import Job, Work
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.runtime.term import Term


class Postponed:
    """Hold the lanes of a partition that wait for a time.

    Args:
        lanes: the lanes of the partition. A postponed lane is blocked.
        ready: called when a lane has waited long enough, and is ready.
    """

    def __init__(self, term: Term, lanes: Lanes[Work], ready: Callable[[], None]) -> None:
        self._term = term
        self._lanes = lanes
        self._ready = ready
        self._timers: dict[Lane[Work], asyncio.TimerHandle] = {}

    def add(self, lane: Lane[Work], job: Job, wait: float) -> None:
        """Let a running lane wait for some seconds before its first job is called."""
        if self._term.stopping:
            # The timers were stopped; the next owner of the partition has this entry.
            return
        self._lanes.block(lane)
        # By the clock of the loop, which nobody sets: the job does not ask for the time again.
        job.waited = True
        self._timers[lane] = asyncio.get_running_loop().call_later(wait, self._resume, lane)

    def stop(self) -> None:
        """Drop the lanes; the next owner of the partition gets their entries."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _resume(self, lane: Lane[Work]) -> None:
        del self._timers[lane]
        self._lanes.unblock(lane)
        self._ready()
