"""Queue jobs in lanes: a lane for each row and receiver, so that a lane that waits delays no other.

A lane is created with its first job and removed with its last. A lane is ready, running or blocked.
Ready lanes stand in a line; a runner takes a lane and runs its first job. A lane is blocked while
its first job cannot run: it waits for a retry, for a slot of its receiver, or for its batch.

The window, which is how much is read ahead, counts what can run. Jobs of blocked lanes cannot, and
do not keep other events from being read. Nor can jobs behind the first job of a lane: once no lane
is ready, the window counts lanes, so that one row with many events does not fill it. `MOST` bounds
the jobs of a partition, and the load of the process bounds their bytes.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from edgy_bus.runtime.load import Load


class Sized(Protocol):
    """What a job must have: its share of the bytes of its entry."""

    @property
    def size(self) -> int: ...


J = TypeVar("J", bound=Sized)

MOST = 20_000
"""Jobs of a partition in memory, including jobs of blocked lanes."""

Key = tuple[str, str]
"""The row (or the entry, for an event without a row) and the receiver."""


@dataclass(slots=True, eq=False)
class Lane(Generic[J]):
    """Hold the jobs of a row and a receiver, in the order of the row's events.

    Attributes:
        key: the row and the receiver.
        jobs: the jobs. `Lanes` adds and removes them.
        size: the bytes of the jobs. Counted along: a row may have thousands of jobs, and its lane
            is blocked anew for each of them.
        blocked: whether the first job cannot run.
        stalled: whether the first job cannot run because its receiver has no free slot.
    """

    key: Key
    jobs: deque[J]
    size: int
    blocked: bool = False
    stalled: bool = False


class Lanes(Generic[J]):
    """Keep the lanes of a partition and count their jobs; pure bookkeeping, without tasks.

    Args:
        load: the bytes in hand of the process.

    Attributes:
        active: jobs in lanes that are not blocked.
        total: all jobs.
        waiting: bytes of the jobs in lanes that are blocked.
        stalled: lanes that are blocked because their receivers have no free slot.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lanes: dict[Key, Lane[J]] = {}
        self._line: deque[Lane[J]] = deque()
        """Lanes that are ready, longest wait first."""
        self._jobs_of = Counter[str]()
        """Receiver to its jobs, counted along: the reports of a worker tell the numbers, and a look
        at ten thousand lanes would stop the event loop for milliseconds."""
        self.active = self.total = self.waiting = self.stalled = 0
        self._blocked = 0
        """Lanes that are blocked."""

    def add(self, key: Key, job: J) -> None:
        """Put a job at the end of its lane."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key, deque((job,)), job.size)
            self._line.append(lane)
        else:
            lane.jobs.append(job)
            lane.size += job.size
        self.total += 1
        self._jobs_of[key[1]] += 1
        # Jobs behind a retry must not use up the room of other rows: the row may wait for minutes.
        if lane.blocked:
            self.waiting += job.size
            self._load.waiting += job.size
        else:
            self.active += 1
            self._load.active += job.size

    def take(self) -> Lane[J] | None:
        """Take the lane that has been ready the longest; the lane is running from now on."""
        return self._line.popleft() if self._line else None

    def finish(self, lane: Lane[J]) -> None:
        """Remove the first job of a running lane; the lane is ready again, or removed if empty."""
        # The job stays first in its lane until here, also while the job runs: a later event of the
        # row joins the same lane, and cannot start before this job has ended.
        job = lane.jobs.popleft()
        lane.size -= job.size
        self.total -= 1
        self._jobs_of[lane.key[1]] -= 1
        self.active -= 1
        self._load.finished(job.size)
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
        self._blocked += 1
        self.active -= len(lane.jobs)
        self.waiting += lane.size
        self._load.waiting += lane.size
        self._load.finished(lane.size)

    def stall(self, lane: Lane[J]) -> None:
        """Block a running lane, because the receiver of its first job has no free slot."""
        self.block(lane)
        lane.stalled = True
        self.stalled += 1

    def go_on(self, lane: Lane[J]) -> None:
        """Make a blocked lane a running lane again."""
        if lane.stalled:
            lane.stalled = False
            self.stalled -= 1
        lane.blocked = False
        self._blocked -= 1
        self.waiting -= lane.size
        self.active += len(lane.jobs)
        self._load.waits_no_longer(lane.size)

    def unblock(self, lane: Lane[J]) -> None:
        """Make a blocked lane ready again."""
        self.go_on(lane)
        self._line.append(lane)

    def finish_blocked(self, lane: Lane[J]) -> None:
        """Remove the first job of a blocked lane, as `finish` does of a running lane."""
        self.go_on(lane)
        self.finish(lane)

    def drop(self) -> None:
        """Count these jobs no more: the next owner of the partition has them."""
        lanes = self._lanes.values()
        load, self._load = self._load, Load(0, 0)
        # A receiver that swallowed its cancellation may end later, and must not count twice.
        load.waiting -= self.waiting
        load.finished(sum(lane.size for lane in lanes if not lane.blocked))

    def room(self, prefetch: int, *, counts_stalled: bool = False) -> int:
        """Return how many more jobs may be added.

        Args:
            prefetch: the jobs that are read ahead.
            counts_stalled: whether lanes that wait for a slot are work to do. Where a single
                receiver takes part, nobody else has a use for more events.
        """
        # While lanes are ready, there is work to do. When all lanes that are not blocked are
        # running, only another row helps.
        used = self.active if self._line else len(self._lanes) - self._blocked
        if counts_stalled:
            used += self.stalled
        return max(0, min(prefetch - used, MOST - self.total))

    @property
    def ready(self) -> bool:
        """Return whether a lane is ready."""
        return bool(self._line)

    def jobs_by_receiver(self) -> Counter[str]:
        """Return how many jobs each receiver has in hand."""
        # Without the receivers whose jobs are all done.
        return +self._jobs_of

    def __contains__(self, key: Key) -> bool:
        return key in self._lanes
