"""Define the contract that every background loop keeps, and the bell that wakes a loop.

Services, bells and locks of a program outlast the event loop that used them: tests and scripts run
one event loop after another.

A `Service` owns exactly one task. `start` can be called twice, and `stop` twice or before `start`.
When `stop` has returned, no code of the service runs any more.

A loop that fails is reported and runs again after a pause: a program whose loop has ended would
look alive and do nothing.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, Generic, Self, TypeVar

from edgy_bus import telemetry
from edgy_bus.reasons import describe, trace_of
from edgy_bus.telemetry import catalogue

T = TypeVar("T")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds before a loop that has failed runs again; every further pause is twice as long."""

CALM = 60.0
"""Seconds without an error after which a loop's next pause is the first again."""

PATIENCE = 60.0
"""Seconds for which a loop may be late before it counts as hanging. Every call to a broker or a
database has a time limit that is much shorter."""

CANCELLED_WITHIN = 1.0
"""Seconds for a cancelled loop to end, until a stop goes on without the loop."""

_Loop = asyncio.AbstractEventLoop | None


async def happens(event: asyncio.Event, within: float) -> bool:
    """Wait for an event for at most `within` seconds; return whether the event is set."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def interruptible(work: Awaitable[object], event: asyncio.Event) -> bool:
    """Await `work` in this task, and cancel the work as soon as the event is set.

    Returns:
        Whether the work ended by itself.
    """
    loop = asyncio.get_running_loop()
    setting = asyncio.create_task(event.wait())
    is_waiting = True

    def interrupt(_: object) -> None:
        # The callback may be called late, when the work has just ended.
        if is_waiting:
            limit.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as limit:
            setting.add_done_callback(interrupt)
            await work
            is_waiting = False
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    finally:
        is_waiting = False
        setting.cancel()
    return True


class PerLoop(Generic[T]):
    """Make a value of asyncio, for example a lock or a client, anew for each event loop.

    Such a value is bound to the loop of its first use, and fails in every other loop.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: dict[_Loop, T] = {}
        self._last: tuple[_Loop, T] | None = None

    def get(self) -> T:
        """Return the value of the running event loop, or of callers that have no loop."""
        loop = _running_loop()
        last = self._last
        if last is None or last[0] is not loop:
            last = self._last = loop, self._of(loop)
        return last[1]

    def _of(self, loop: _Loop) -> T:
        # Values of loops that are not closed are kept: such a loop may run again. It may also be
        # the loop of a parent process, whose connections no collector here may close.
        for used in tuple(self._values):
            if used is not None and used.is_closed():
                # Not `del`: the loop of another thread may do the same at this moment.
                self._values.pop(used, None)
        if loop not in self._values:
            self._values[loop] = self._make()
        return self._values[loop]


def _running_loop() -> _Loop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def next_pause(before: float, lasted: float) -> float:
    """Return the seconds until a loop that has failed runs again.

    Args:
        before: the pause before the run that failed; 0 for the first run.
        lasted: how many seconds that run lasted.
    """
    if before == 0 or lasted >= CALM:
        return FIRST_PAUSE
    return min(LONGEST_PAUSE, before * 2)


async def keep_running(
    name: str, run: Callable[[], Awaitable[None]], stopping: asyncio.Event
) -> None:
    """Call `run`, again and again after an error, until `run` returns or `stopping` is set.

    Args:
        name: of the loop, for the report of an error.
        run: the loop; must be able to begin anew.
        stopping: ends the pause after an error. An error after that is reported and raised.
    """
    clock, pause = asyncio.get_running_loop().time, 0.0
    while True:
        began = clock()
        try:
            await run()
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            pause = next_pause(pause, clock() - began)
            telemetry.emit(failure_of(name, error, None if stopping.is_set() else pause))
            if stopping.is_set():
                raise
        else:
            return
        if await happens(stopping, pause):
            return


def failure_of(name: str, error: BaseException, pause: float | None) -> catalogue.ServiceFailed:
    """Return the report of an error that ended a loop.

    Args:
        name: of the loop.
        error: the error.
        pause: seconds until the loop runs again; None if the loop has ended.
    """
    return catalogue.ServiceFailed(
        service=name, error=describe(error), trace=trace_of(error), again_in=pause
    )


def _is_cancelled(error: BaseException) -> bool:
    """Return whether another task has cancelled the running task.

    Otherwise something that the task waited for was cancelled, which is an error like any other.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _ends(work: Awaitable[None], within: float) -> bool:
    try:
        async with asyncio.timeout(within) as limit:
            await work
    except TimeoutError:
        if not limit.expired():
            raise
        return False
    return True


class Progress:
    """Tell a loop that hangs from a loop that waits for something to do."""

    def __init__(self) -> None:
        self._due: float | None = None

    def note(self, rests: float = 0.0) -> None:
        """Note that the loop goes on, and that its next note follows after `rests` seconds."""
        self._due = asyncio.get_running_loop().time() + rests + PATIENCE

    def __bool__(self) -> bool:
        """Return whether the next note is not overdue."""
        return self._due is not None and asyncio.get_running_loop().time() <= self._due


class Startable(ABC):
    """Run inside of an `async with` statement, from `start` to `stop`."""

    @abstractmethod
    async def start(self) -> None:
        """Start; do nothing while this runs."""

    @abstractmethod
    async def stop(self) -> None:
        """Undo `start`; do nothing if this does not run."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()


class Service(Startable):
    """Run a loop in the background, in a task that this object owns.

    Subclasses implement `run`, which returns soon after `self.stopping` is set. After an error,
    `run` is called again if the class has `restarts`. An error that ends the loop is raised to the
    caller of `stop` or `wait`. Every error is reported.

    Attributes:
        stopping: set when the loop is to end.
        progress: noted by the loop in every round.
    """

    restarts: ClassVar[bool] = True
    """Whether `run` can begin anew after an error."""

    stops_within: float = 10.0
    """Seconds for `run` to return after `stopping` is set, until the loop is cancelled."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.progress = Progress()
        self._task: asyncio.Task[None] | None = None
        self._process = 0

    @abstractmethod
    async def run(self) -> None:
        """Do the work until `self.stopping` is set."""

    @property
    def running(self) -> bool:
        """Return whether the loop was started and has not ended."""
        return self._task is not None and not self._task.done() and not self._is_stranded()

    @property
    def alive(self) -> bool:
        """Return whether the loop runs and makes progress."""
        return self.running and bool(self.progress)

    def _is_stranded(self) -> bool:
        """Return whether the task can never end: in a closed event loop, or of a parent process."""
        if self._task is None:
            return False
        return self._task.get_loop().is_closed() or self._process != os.getpid()

    @property
    def failure(self) -> BaseException | None:
        """Return the error that ended the loop; None while it runs or after a normal end."""
        # A cancelled task has no exception to return: `Task.exception` would raise CancelledError
        # in the caller, who is not cancelled.
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def start(self) -> None:
        """Start the loop in the background; do nothing while it runs."""
        if self.running:
            return
        # A new Event for each start: a service that was stopped can be started again.
        self.stopping = asyncio.Event()
        self._process = os.getpid()
        self.progress.note()
        self._task = asyncio.create_task(self._guarded(), name=type(self).__name__)

    def when_ended(self, call: Callable[[], None]) -> None:
        """Call `call` when the running loop has ended."""
        if self._task is not None:
            self._task.add_done_callback(lambda _: call())

    async def stop(self) -> None:
        """Ask the loop to end, and wait for its end for a bounded time.

        `run` decides how much of the work in hand is finished. A loop that does not end within
        `stops_within` is cancelled, and left alone if even that does not end the loop; both are
        reported. Raises the error that ended the loop.
        """
        self.ask_to_stop()
        if await _ends(self.wait(), self.stops_within):
            return
        name = type(self).__name__
        telemetry.emit(catalogue.ServiceCutOff(service=name, seconds=self.stops_within))
        # Something in the loop may swallow the cancellation. The caller has to go on all the same.
        if not await self._cancelled(CANCELLED_WITHIN):
            telemetry.emit(catalogue.ServiceAbandoned(service=name))

    def ask_to_stop(self) -> None:
        """Set `stopping`, unless nobody can wait for the event any more."""
        if not self._is_stranded():
            self.stopping.set()

    async def abort(self) -> None:
        """Cancel the loop at its next await, and wait for its end. Does not raise its error."""
        await self._cancelled(None)

    async def _cancelled(self, within: float | None) -> bool:
        """Cancel the loop, and wait for its end; return whether the loop has ended."""
        if self._task is None or self._is_stranded():
            return True
        self.stopping.set()
        self._task.cancel()
        # `await self._task` would raise the task's CancelledError here, where a cancellation of the
        # caller looks the same. And `gather` has no time limit: cancelled, it waits all the same.
        ended, _ = await asyncio.wait((self._task,), timeout=within)
        if ended and not self._task.cancelled():
            self._task.exception()  # was reported by the loop; asyncio would report it again
        return bool(ended)

    async def wait(self) -> None:
        """Wait until the loop has ended, and raise the error that ended it, if any."""
        if self._task is not None and not self._is_stranded():
            # Without shield, cancelling the caller would cancel the loop, which has its own owner.
            await asyncio.shield(self._task)

    async def pause(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the service is asked to stop."""
        self.progress.note(rests=seconds)
        await happens(self.stopping, seconds)

    async def _guarded(self) -> None:
        name = type(self).__name__
        if self.restarts:
            await keep_running(name, self.run, self.stopping)
            return
        try:
            await self.run()
        except Exception as error:
            # Nobody may await the task for hours: without this notice the loop would end silently.
            telemetry.emit(failure_of(name, error, None))
            raise


class Bell:
    """Wake one waiting task. Several rings before the wait count as a single ring.

    The waiting task looks for its work after every ring; a ring says nothing about how much.
    """

    def __init__(self) -> None:
        self._events = PerLoop(asyncio.Event)

    def ring(self) -> None:
        """Wake the waiting task now, or at its next `wait`."""
        self._events.get().set()

    @property
    def is_rung(self) -> bool:
        """Return whether the next `wait` ends at once."""
        return self._events.get().is_set()

    async def wait(self, timeout: float) -> bool:
        """Wait for a ring for at most `timeout` seconds, and consume the ring.

        Returns whether the bell rang.
        """
        rung = self._events.get()
        if not await happens(rung, timeout):
            return False
        # Cleared before the caller looks for work: a ring during that work stays for the next wait.
        rung.clear()
        return True
