"""Lanes: one queue for each row and receiver, so that what waits in one holds up no other.

A lane is born with its first job and gone with its last. While it waits for a retry its jobs do not count as ready, so that
they do not keep other events from being read; `HELD` bounds how many may wait like that.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

J = TypeVar("J")

HELD = 10_000
"""Jobs of one partition in memory, those that wait for a retry included."""

Key = tuple[str, str]
"""The row (or the entry, for events without one) and the receiver."""


@dataclass(slots=True)
class Lane(Generic[J]):
    key: Key
    jobs: deque[J] = field(default_factory=deque)
    blocked: bool = False


class Lanes(Generic[J]):
    """The lanes of a partition and the number of their jobs. Pure bookkeeping: who runs them is decided elsewhere."""

    def __init__(self) -> None:
        self._lanes: dict[Key, Lane[J]] = {}
        self.ready = 0
        self.total = 0

    def add(self, key: Key, job: J) -> Lane[J] | None:
        """Put a job at the end of its lane; answers the lane if it is new, because somebody has to run it then."""
        lane = self._lanes.get(key)
        born = lane is None
        if lane is None:
            lane = self._lanes[key] = Lane(key)
        lane.jobs.append(job)
        self.total += 1
        self.ready += not lane.blocked
        return lane if born else None

    def finish(self, lane: Lane[J]) -> None:
        """The first job is done with; an empty lane is gone."""
        lane.jobs.popleft()
        self.total -= 1
        self.ready -= not lane.blocked
        if not lane.jobs:
            del self._lanes[lane.key]

    def block(self, lane: Lane[J]) -> None:
        """The first job waits, and with it all others of the lane."""
        if not lane.blocked:
            lane.blocked = True
            self.ready -= len(lane.jobs)

    def unblock(self, lane: Lane[J]) -> None:
        if lane.blocked:
            lane.blocked = False
            self.ready += len(lane.jobs)

    def room(self, prefetch: int) -> int:
        """How many more jobs may come in."""
        return max(0, min(prefetch - self.ready, HELD - self.total))

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, key: Any) -> bool:
        return key in self._lanes
