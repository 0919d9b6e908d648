"""Queue jobs in lanes: a lane for each row and receiver, so that a lane that waits delays no other.

A lane is created with its first job and removed with its last. A lane is ready, running or blocked.
Ready lanes stand in a line; a runner takes a lane and runs its first job. While a lane is blocked
(its first job waits for a retry), the lane's jobs do not count as active, so that they do not keep
other events from being read. `MOST` bounds how many jobs may wait like that.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J")

MOST = 10_000
"""Jobs of a partition in memory, including jobs that wait for a retry."""

Key = tuple[str, str]
"""The row (or the entry, for an event without a row) and the receiver."""


@dataclass(slots=True, eq=False)
class Lane(Generic[J]):
    """Hold the jobs of a row and a receiver, in the order of the row's events."""

    key: Key
    jobs: deque[J]
    blocked: bool = False


class Lanes(Generic[J]):
    """Keep the lanes of a partition and count their jobs; pure bookkeeping, without tasks."""

    def __init__(self) -> None:
        self._lanes: dict[Key, Lane[J]] = {}
        self._line: deque[Lane[J]] = deque()
        """Lanes that are ready, longest wait first."""
        self.active = 0
        """Jobs in lanes that are not blocked."""
        self.total = 0

    def add(self, key: Key, job: J) -> None:
        """Put a job at the end of its lane."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, deque((job,)))
            self._line.append(lane)
        else:
            lane.jobs.append(job)
        self.total += 1
        # Jobs behind a retry must not use up the room of other rows: the row may wait for minutes.
        if not lane.blocked:
            self.active += 1

    def take(self) -> Lane[J] | None:
        """Take the lane that has been ready the longest; the lane is running from now on."""
        return self._line.popleft() if self._line else None

    def finish(self, lane: Lane[J]) -> None:
        """Remove the first job of a running lane; the lane is ready again, or removed if empty."""
        # The job stays first in its lane until here, also while the job runs: a later event of the
        # row joins the same lane, and cannot start before this job has ended.
        lane.jobs.popleft()
        self.total -= 1
        self.active -= 1
        if lane.jobs:
            self._line.append(lane)
        else:
            del self._lanes[lane.key]

    def give_back(self, lane: Lane[J]) -> None:
        """Make a running lane ready again: its first job did not run."""
        self._line.append(lane)

    def block(self, lane: Lane[J]) -> None:
        """Block a running lane: its first job waits, and with it all later jobs of the lane."""
        lane.blocked = True
        self.active -= len(lane.jobs)

    def unblock(self, lane: Lane[J]) -> None:
        """Make a blocked lane ready again."""
        lane.blocked = False
        self.active += len(lane.jobs)
        self._line.append(lane)

    def room(self, prefetch: int) -> int:
        """Return how many more jobs may be added."""
        return max(0, min(prefetch - self.active, MOST - self.total))

    @property
    def ready(self) -> bool:
        """Return whether a lane is ready."""
        return bool(self._line)

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, key: object) -> bool:
        return key in self._lanes
