"""Write events that were put aside: dead letters, and parked events of held rows.

Such writes need memory, and a broker that is full refuses them. What waits to be written holds its
lane, so that no later event of the row overtakes, and nothing else: no slot, and no other lane.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edgy_bus import telemetry
from edgy_bus.errors import BrokerError, BrokerUnavailable, LeaseLost
from edgy_bus.portions import Portion
from edgy_bus.runtime.jobs import Work
from edgy_bus.runtime.lanes import Lane
from edgy_bus.runtime.owned import OwnedTasks
from edgy_bus.runtime.term import Term
from edgy_bus.telemetry import catalogue

_FIRST_PAUSE = 0.05

_AT_ONCE = 16
"""Events that are written side by side."""

Write = Callable[[], Awaitable[bool]]
"""Write an event; return False if the event is to be handled after all."""

Written = Callable[[Lane[Work], bool], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    lane: Lane[Work]
    write: Write
    refused: str = ""
    """The last error about this event alone."""


class SideWriter:
    """Write a page of events side by side, again and again until all are written.

    An event that the broker refuses goes to the end of the line, and others follow. Writes are
    safe to repeat: the broker recognises an event that it has.

    Args:
        tasks: the tasks of the tenure, among which the writer lives while something waits.
        backoff: longest pause in seconds while the broker refuses everything.
        written: called with each lane whose event was written, or is to be handled after all.
    """

    def __init__(self, term: Term, tasks: OwnedTasks, backoff: float, written: Written) -> None:
        self._term = term
        self._tasks = tasks
        self._backoff = backoff
        self._written = written
        self._line: deque[_Waiting] = deque()
        self._at_once = Portion(_AT_ONCE)
        self._running = False
        self._reported = False
        """Whether it was reported that events wait; until everything is written."""

    def add(self, lane: Lane[Work], write: Write) -> None:
        """Write the event of a lane's first job as soon as the broker takes it."""
        self._line.append(_Waiting(lane, write))
        if not self._running:
            self._running = True
            self._tasks.start(self._run())

    async def _run(self) -> None:
        """Write until nothing waits.

        Raises:
            LeaseLost: when the broker refuses the lease, or has lost an event that was put aside.
        """
        try:
            await self._write_all()
        finally:
            # In the same step as the last look at the line: `add` starts the next task.
            self._running = False

    async def _write_all(self) -> None:
        pause = _FIRST_PAUSE
        while self._line:
            count = min(self._at_once.size, len(self._line))
            page = [self._line.popleft() for _ in range(count)]
            # Of several errors the first is raised, when every answer is there.
            answers = await asyncio.gather(
                *(waiting.write() for waiting in page), return_exceptions=True
            )
            refused = self._take_note(page, answers)
            if refused < len(page):
                self._at_once.went_well()
                pause = _FIRST_PAUSE
                continue
            if self._term.stopping:
                # The tenure ends: the next owner of the partition has these entries.
                return
            # One at a time, while the broker takes nothing.
            self._at_once.went_badly()
            await asyncio.sleep(pause)
            pause = min(self._backoff, pause * 2)
        self._report_recovery()

    def _take_note(self, page: list[_Waiting], answers: list[bool | BaseException]) -> int:
        """Return how many writes were refused; raise an error that ends the tenure."""
        refused: list[tuple[_Waiting, BrokerError]] = []
        for waiting, answer in zip(page, answers, strict=True):
            if isinstance(answer, BrokerError) and not isinstance(answer, LeaseLost):
                refused.append((waiting, answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                self._written(waiting.lane, answer)
        self._line.extend(waiting for waiting, _ in refused)
        # Reported when all are in the line again, which is counted.
        for waiting, error in refused:
            if self._is_news(waiting, error):
                self._report(error)
        return len(refused)

    def _report(self, error: BrokerError) -> None:
        """Report how many events wait."""
        telemetry.emit(
            catalogue.LettersWait(
                group=self._term.group,
                partition=str(self._term.lease.partition),
                count=len(self._line),
                error=str(error),
            )
        )

    def _is_news(self, waiting: _Waiting, error: BrokerError) -> bool:
        """Return whether an error is the first of an outage, or another error of its event."""
        if isinstance(error, BrokerUnavailable):
            was_reported, self._reported = self._reported, True
            return not was_reported
        before, waiting.refused = waiting.refused, str(error)
        return waiting.refused != before

    def _report_recovery(self) -> None:
        if self._reported:
            self._reported = False
            telemetry.emit(
                catalogue.LettersWritten(
                    group=self._term.group, partition=str(self._term.lease.partition)
                )
            )
