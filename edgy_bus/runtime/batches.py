"""Gather lanes whose first jobs are given to a batch receiver in the same call.

A batch is full with its number of events, or when its first event has waited enough, or when no
more events can come because the tenure has as many in hand as it may have.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edgy_bus.runtime.jobs import Job, Work
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.signals import Batch

Members = list[tuple[Lane[Work], Job]]


@dataclass(slots=True)
class _Gathered:
    timer: asyncio.TimerHandle
    members: Members = field(default_factory=list)


class Batches:
    """Gather lanes for each subscription until a batch is full, or its first lane waited enough.

    Args:
        lanes: the lanes of the partition. A gathered lane is blocked: whatever the size of a batch,
            the window has room for the events that fill the batch.
        full: called when a batch may run.

    Attributes:
        ready: batches that may run, longest wait first.
    """

    def __init__(self, lanes: Lanes[Work], full: Callable[[], None]) -> None:
        self.ready: deque[Members] = deque()
        self._lanes = lanes
        self._full = full
        self._gathering: dict[int, _Gathered] = {}

    def add(self, lane: Lane[Work], job: Job, batch: Batch) -> None:
        """Add the first job of a running lane."""
        # Not by name: a receiver may have a subscription for each of several signals, and a call
        # has events of a single signal.
        key = id(job.subscription)
        if key not in self._gathering:
            timer = asyncio.get_running_loop().call_later(batch.wait, self._close, key)
            self._gathering[key] = _Gathered(timer)
        self._lanes.block(lane)
        gathered = self._gathering[key]
        gathered.members.append((lane, job))
        if len(gathered.members) >= batch.size:
            gathered.timer.cancel()
            self._close(key)

    def close(self) -> bool:
        """Let everything that is gathered run; return whether there was anything."""
        gathering = list(self._gathering.items())
        for key, gathered in gathering:
            gathered.timer.cancel()
            self._close(key)
        return bool(gathering)

    def stop(self) -> None:
        """Drop the gathered lanes; the next owner of the partition gets their entries."""
        for gathered in self._gathering.values():
            gathered.timer.cancel()
        self._gathering.clear()

    def _close(self, key: int) -> None:
        members = self._gathering.pop(key).members
        for lane, _ in members:
            self._lanes.go_on(lane)
        self.ready.append(members)
        self._full()
