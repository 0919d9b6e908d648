"""Own tasks, so that none outlives the object that started it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def _nothing() -> None: ...


class OwnedTasks:
    """Hold the running tasks of a tenure.

    Args:
        failed: called with the error of a task that ended with an error.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        # Each task, in the order of starting, with what follows its end. In order, because a
        # simulated run must cancel its tasks in the same order each time.
        self._running: dict[asyncio.Task[None], Callable[[], None]] = {}
        self._cancelled = False

    def start(
        self, work: Coroutine[Any, Any, None], then: Callable[[], None] = _nothing
    ) -> "asyncio.Task[None]":
        """Start a task; `then` is called when the task has ended, after `failed`."""
        task = asyncio.create_task(work)
        self._running[task] = then
        task.add_done_callback(self._ended)
        return task

    async def finish(self, within: float) -> None:
        """Wait for the tasks to end by themselves, for at most `within` seconds."""
        if self._running:
            await asyncio.wait(self._running, timeout=within)

    def cancel(self) -> None:
        """Ask the tasks to end."""
        self._cancelled = True
        for task in self._running:
            task.cancel()

    async def ended(self) -> None:
        """Wait for the tasks to end, no matter how long that takes."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        then = self._running.pop(task)
        if not task.cancelled():
            error = task.exception()
        elif self._cancelled:
            error = None
        else:
            # The job that the task was running would stay in its lane for ever, without a word.
            error = RuntimeError("a receiver cancelled the task that runs it")
        if error is not None:
            self._failed(error)
        then()
