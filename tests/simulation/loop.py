"""Run processes on an event loop with a virtual clock; pause or kill them between any two steps.

Every asyncio handle carries the context of its creation, and the context names the process. The
handles of a paused process wait, timers included, until the process resumes. Those of a process
whose event loop is blocked wait, too, except the handles of its keeper of leases, which has a
thread of its own. The handles of a killed process are dropped: no code of the process runs any
more, not even a `finally`. asyncio has no public access to a handle's context, so this module uses
private attributes (as `world.py` does at the end of a run).
"""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any
from unittest import mock


class Process:
    """Some tasks that live, sleep and die together, with a clock of their own."""

    def __init__(self, name: str, clock_offset: float = 0.0) -> None:
        self.name = name
        self.clock_offset = clock_offset
        self.alive = True
        self.paused = False
        self.blocked = False
        self.blocked_at = 0.0
        self.woken_at = -1e9
        """When the process resumed, or its loop went on, the last time."""
        self.held: deque[asyncio.Handle] = deque()

    def __repr__(self) -> str:
        return f"<Process {self.name}>"


current_process: ContextVar[Process | None] = ContextVar("current_process", default=None)

in_thread: ContextVar[bool] = ContextVar("in_thread", default=False)
"""Whether a handle belongs to a thread beside the event loop of its process."""


class Stuck(Exception):
    """Nothing is ready and nothing is scheduled."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Jumps to the next timer when nothing is ready."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        """Every task: the garbage collector would run the `finally` of killed coroutines."""
        self.set_task_factory(self._make_task)

    def _make_task(self, loop: Any, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=loop, **options)
        self.tasks.append(task)
        if len(self.tasks) % 1_000 == 0:
            self.tasks = [task for task in self.tasks if not task.done()]
        return task

    def time(self) -> float:
        return self._now

    def spawn(
        self, process: Process | None, coroutine: Coroutine[Any, Any, Any]
    ) -> "asyncio.Task[Any]":
        """Run a coroutine as part of a process, or of none."""
        context = copy_context()
        context.run(current_process.set, process)
        context.run(in_thread.set, False)
        return self.create_task(coroutine, context=context)

    def block(self, process: Process) -> None:
        process.blocked = True
        process.blocked_at = self._now

    def unblock(self, process: Process) -> None:
        process.blocked = False
        self._wake(process)

    def resume(self, process: Process) -> None:
        process.paused = False
        self._wake(process)

    def _wake(self, process: Process) -> None:
        process.woken_at = self._now
        self._ready.extend(process.held)
        process.held.clear()

    def kill(self, process: Process) -> None:
        process.alive = False
        process.held.clear()

    def _run_once(self) -> None:
        # Local names: these lines run some 20,000 times in a seed.
        scheduled, ready, run = self._scheduled, self._ready, self._run
        while scheduled and scheduled[0]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False  # type: ignore[attr-defined]
        if not ready:
            if not scheduled:
                raise Stuck
            self._now = max(self._now, scheduled[0].when())
        now = self._now
        while scheduled and scheduled[0].when() <= now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]
            ready.append(handle)
        for _ in range(len(ready)):
            run(ready.popleft())

    def _run(self, handle: asyncio.Handle) -> None:
        if handle._cancelled:  # type: ignore[attr-defined]
            return
        process = handle._context.get(current_process)  # type: ignore[attr-defined]
        if process is not None:
            if not process.alive:
                return
            if process.paused or (process.blocked and not _is_in_thread(handle)):
                process.held.append(handle)
                return
        self.steps += 1
        handle._run()

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...


def _is_in_thread(handle: asyncio.Handle) -> bool:
    context: Context = handle._context  # type: ignore[attr-defined]
    return context.get(in_thread, False)


STARTED = 1_000_000.0
"""Seconds since 1970 at the beginning of `run_virtually`."""


def run_virtually(loop: VirtualLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end in virtual time, which the clock of the day follows."""

    def now() -> float:
        return STARTED + loop.time()

    with mock.patch.object(time, "time", now):
        try:
            loop.run_until_complete(main)
        finally:
            loop.close()
