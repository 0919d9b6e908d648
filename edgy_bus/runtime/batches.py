"""Gather lanes whose first jobs are given to a batch receiver in the same call."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edgy_bus.runtime.jobs import Job, Work
from edgy_bus.runtime.lanes import Lane
from edgy_bus.signals import Batch

Members = list[tuple[Lane[Work], Job]]


@dataclass(slots=True)
class _Gathered:
    timer: asyncio.TimerHandle
    members: Members = field(default_factory=list)


class Batches:
    """Gather lanes for each subscription until a batch is full, or its first lane waited enough.

    Args:
        full: called when a batch may run.
    """

    def __init__(self, full: Callable[[], None]) -> None:
        self._full = full
        self._gathering: dict[int, _Gathered] = {}
        self._ready: deque[Members] = deque()

    def add(self, lane: Lane[Work], job: Job, batch: Batch) -> None:
        """Add the first job of a running lane."""
        # Not by name: a receiver may have a subscription for each of several signals, and a call
        # has events of a single signal.
        key = id(job.subscription)
        if key not in self._gathering:
            timer = asyncio.get_running_loop().call_later(batch.wait, self._close, key)
            self._gathering[key] = _Gathered(timer)
        gathered = self._gathering[key]
        gathered.members.append((lane, job))
        if len(gathered.members) >= batch.size:
            gathered.timer.cancel()
            self._close(key)

    def take(self) -> Members | None:
        """Take the batch that has been ready the longest."""
        return self._ready.popleft() if self._ready else None

    @property
    def ready(self) -> bool:
        """Return whether a batch may run."""
        return bool(self._ready)

    def stop(self) -> None:
        """Drop the gathered lanes; the next owner of the partition gets their entries."""
        for gathered in self._gathering.values():
            gathered.timer.cancel()
        self._gathering.clear()

    def _close(self, key: int) -> None:
        self._ready.append(self._gathering.pop(key).members)
        self._full()
