"""Register the groups of a process at the broker, in one conversation for all of them.

Each group of a process makes rounds, and registers its worker in every round. With a conversation
for each group, a process at rest would ask more of the broker the more groups it has.
"""

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from edgy_bus.brokers.base import Broker, Members, Presence
from edgy_bus.settings import WorkerSettings

T = TypeVar("T")

_LOOK = 0.4
"""Seconds between two looks at the live workers: the rows of a worker that died are taken over this
much later than its lease ends."""

_TOGETHER = 0.01
"""Seconds for which the first group of a round waits for the others."""

_DECLARED = 1.0
"""Seconds for which the numbers of partitions are remembered. They change with a new model only."""


class Registrar:
    """Register groups, and tell them when their rounds are due: at the same moments for all.

    Args:
        broker: keeps the live workers.
        settings: the numbers of the worker.
        groups: how many groups the process has.
    """

    def __init__(self, broker: Broker, settings: WorkerSettings, groups: int) -> None:
        self._broker = broker
        self._lease = settings.lease
        self._every = min(_LOOK, settings.lease / 4)
        self._together = _TOGETHER if groups > 1 else 0.0
        # Processes that were started at the same moment must not ask at the same moments.
        self._offset = random.random() * self._every
        self._presences: list[Presence] = []
        """Those of the next conversation."""
        self._joining: asyncio.Task[list[Members | BaseException]] | None = None
        """The next conversation, while it waits for groups."""
        self._reading: asyncio.Task[Mapping[str, int]] | None = None
        self._read_at = float("-inf")

    def rest(self, now: float) -> float:
        """Return the seconds until the next round of a group that waits for nothing."""
        rest = self._every - (now - self._offset) % self._every
        # Just before such a moment, and after a timer that was early by a rounding error, the round
        # of this moment has been made.
        return rest if rest > self._every / 10 else rest + self._every

    async def join(self, presence: Presence) -> Members:
        """Register a worker of a group together with the other groups of the process.

        Raises what `Broker.join` raises. An error of one group concerns this group alone.
        """
        if self._joining is None:
            self._joining = _begin(self._join_all())
        joining, number = self._joining, len(self._presences)
        self._presences.append(presence)
        answer = (await _answer_of(joining))[number]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _join_all(self) -> list[Members | BaseException]:
        await asyncio.sleep(self._together)
        presences, self._presences = self._presences, []
        self._joining = None
        return list(await self._broker.join_all(presences, self._lease))

    async def declared(self) -> Mapping[str, int]:
        """Return the models with their numbers of partitions, as they were lately."""
        now = asyncio.get_running_loop().time()
        if self._reading is None or now >= self._read_at + _DECLARED:
            self._reading, self._read_at = _begin(self._read_declared()), now
        return await _answer_of(self._reading)

    async def _read_declared(self) -> Mapping[str, int]:
        try:
            return await self._broker.declared()
        except BaseException:
            # An error is no answer that may be remembered.
            self._read_at = float("-inf")
            raise


def _begin(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(work)
    # Every group that waits for the answer may have been cancelled meanwhile.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


async def _answer_of(task: asyncio.Task[T]) -> T:
    """Wait for the answer of a task that several groups wait for."""
    # Not `await task`: a group that is cancelled would cancel it for all.
    await asyncio.wait((task,))
    return task.result()
