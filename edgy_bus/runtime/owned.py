"""Own tasks, so that none outlives the object that started it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import Any


def _nothing() -> None: ...


_owner: ContextVar["OwnedTasks | None"] = ContextVar("edgy_bus_owner_of_task", default=None)


def is_cancelled_by_owner() -> bool:
    """Return whether the owner of the current task has asked the task to end.

    True as well for a task without an owner: everyone may cancel such a task.
    """
    owner = _owner.get()
    return owner is None or owner.cancelled


class OwnedTasks:
    """Hold the running tasks of a tenure.

    Args:
        failed: called with the error of a task that ended with an error.
        quiet: called when no task is left, or when all that are left rest.

    Attributes:
        cancelled: whether the tasks were asked to end.
    """

    def __init__(
        self, failed: Callable[[BaseException], None], quiet: Callable[[], None] = _nothing
    ) -> None:
        self._failed = failed
        self._quiet = quiet
        # Each task, in the order of starting, with what follows its end. In order, because a
        # simulated run must cancel its tasks in the same order each time.
        self._running: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._resting = 0
        self.cancelled = False

    def start(
        self, work: Coroutine[Any, Any, None], then: Callable[[], None] = _nothing
    ) -> "asyncio.Task[None]":
        """Start a task; `then` is called when the task has ended, after `failed`."""
        context = copy_context()
        context.run(_owner.set, self)
        task = asyncio.create_task(work, context=context)
        self._running[task] = then
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        """Return how many tasks run."""
        return len(self._running)

    @property
    def busy(self) -> int:
        """Return how many tasks run and do not rest."""
        return len(self._running) - self._resting

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Note that the current task waits, and may be ended meanwhile without harm."""
        self._resting += 1
        try:
            self._look_around()
            yield
        finally:
            self._resting -= 1

    def cancel(self) -> None:
        """Ask the tasks to end."""
        self.cancelled = True
        for task in self._running:
            task.cancel()

    async def ended(self, within: float | None = None) -> int:
        """Wait for cancelled tasks to end; return how many still run after `within` seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=within)
        return len(self._running)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        then = self._running.pop(task)
        if not task.cancelled():
            error = task.exception()
        elif self.cancelled:
            error = None
        else:
            # The job that the task was running would stay in its lane for ever, without a word.
            error = RuntimeError("a receiver cancelled the task that runs it")
        if error is not None:
            self._failed(error)
        then()
        self._look_around()

    def _look_around(self) -> None:
        # Asked last: a task may start another at its end.
        if not self.busy:
            self._quiet()


@dataclass(frozen=True, slots=True)
class TenureTasks:
    """Hold the tasks of a tenure, by what the end of the tenure means for them.

    Attributes:
        services: read, and report to the broker; cancelled at the end.
        calls: call receivers. The partition is not handed over while one of them is busy.
        writes: put events aside, and look after held rows; the end waits for what they have begun.
    """

    services: OwnedTasks
    calls: OwnedTasks
    writes: OwnedTasks

    def __iter__(self) -> Iterator[OwnedTasks]:
        return iter((self.services, self.calls, self.writes))
