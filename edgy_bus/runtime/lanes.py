"""Lanes: one queue for each row and receiver, so that what waits in one holds up no other.

A lane is born with its first job and gone with its last. It is ready, running or blocked: ready lanes stand in a line, and whoever
takes one runs its first job. While a lane is blocked (its first job waits for a retry) its jobs do not count as active, so that they
do not keep other events from being read; `MOST` bounds how many may wait like that.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

J = TypeVar("J")

MOST = 10_000
"""Jobs of one partition in memory, those that wait for a retry included."""

Key = tuple[str, str]
"""The row (or the entry, for events without one) and the receiver."""


@dataclass(slots=True, eq=False)
class Lane(Generic[J]):
    key: Key
    jobs: deque[J]
    blocked: bool = False


class Lanes(Generic[J]):
    """The lanes of a partition and the number of their jobs. Pure bookkeeping: who runs them is decided elsewhere."""

    def __init__(self) -> None:
        self._lanes: dict[Key, Lane[J]] = {}
        self._line: deque[Lane[J]] = deque()
        """Lanes that are ready."""
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
        if not lane.blocked:
            self.active += 1

    def take(self) -> Lane[J] | None:
        """The ready lane that has stood in line the longest; it is running from now on."""
        return self._line.popleft() if self._line else None

    def give_back(self, lane: Lane[J]) -> None:
        """Its first job was not run after all."""
        self._line.append(lane)

    def finish(self, lane: Lane[J]) -> None:
        """The first job of a running lane is done with: it stands in line for the next one, or is gone."""
        lane.jobs.popleft()
        self.total -= 1
        self.active -= 1
        if lane.jobs:
            self._line.append(lane)
        else:
            del self._lanes[lane.key]

    def block(self, lane: Lane[J]) -> None:
        """The first job of a running lane waits, and with it all others of the lane."""
        lane.blocked = True
        self.active -= len(lane.jobs)

    def unblock(self, lane: Lane[J]) -> None:
        """A blocked lane is ready again."""
        lane.blocked = False
        self.active += len(lane.jobs)
        self._line.append(lane)

    def room(self, prefetch: int) -> int:
        """How many more jobs may come in."""
        return max(0, min(prefetch - self.active, MOST - self.total))

    @property
    def ready(self) -> bool:
        """Whether a lane stands in line."""
        return bool(self._line)

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, key: Any) -> bool:
        return key in self._lanes
