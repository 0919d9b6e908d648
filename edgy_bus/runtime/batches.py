"""Lanes whose first jobs are handed to a batch receiver together."""

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
    """Gathers lanes for each subscription until there are enough of them, or the first has waited long enough.

    `full` is called when a batch may be run; `take` answers it.
    """

    def __init__(self, full: Callable[[], None]) -> None:
        self._full = full
        self._gathering: dict[int, _Gathered] = {}
        self._ready: deque[Members] = deque()

    def add(self, lane: Lane[Work], job: Job, batch: Batch) -> None:
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
        """A batch that may be run."""
        return self._ready.popleft() if self._ready else None

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    def stop(self) -> None:
        """Nothing more is run."""
        for gathered in self._gathering.values():
            gathered.timer.cancel()
        self._gathering.clear()

    def _close(self, key: int) -> None:
        self._ready.append(self._gathering.pop(key).members)
        self._full()
