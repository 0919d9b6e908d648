"""Measure the calls of receivers, and fold the numbers of many calls at once.

A call adds numbers to lists, which become measurements in every round of the consumer. All events
are counted. At high rates only some calls are timed, so that measuring costs next to nothing: a
histogram needs no more of them.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgy_bus import telemetry
from edgy_bus.runtime.jobs import Job
from edgy_bus.runtime.outcome import Done, Outcome
from edgy_bus.telemetry import Measurement, measurements
from edgy_bus.telemetry.measurements import RECEIVER_TIME, START_DELAY

TIMED = 500
"""Calls of a receiver that are timed between two rounds: all of them up to some 1,200 a second."""


@dataclass(slots=True)
class _Receiver:
    handled: int = 0
    skipped: int = 0
    times: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    """The beginning of a first call by the loop's clock, less the time of the entry."""


class Meter:
    """Measure the calls of a group in this process.

    Args:
        group: the group.
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._clock = asyncio.get_running_loop().time
        self._receivers: dict[str, _Receiver] = {}

    def done_at_once(self, job: Job, outcome: Done, began: float) -> None:
        """Measure the first call with an event, which handled it without waiting.

        Called for nearly every event, so that it repeats a few lines of `called`.

        Args:
            job: the job that was called.
            outcome: the outcome.
            began: when the call began, by the clock of the loop.
        """
        name = job.subscription.name
        calls = self._receivers.get(name) or self._new(name)
        if outcome.skipped:
            calls.skipped += 1
            return
        calls.handled += 1
        if len(calls.times) < TIMED:
            calls.begins.append(began - job.handling.entry.id.ms * 0.001)
            calls.times.append(self._clock() - began)

    def called(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], began: float) -> None:
        """Measure a call with the events of some jobs of a receiver, no matter how it ended."""
        name = jobs[0].subscription.name
        calls = self._receivers.get(name) or self._new(name)
        is_called = False
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Done):
                calls.skipped += outcome.skipped
                calls.handled += not outcome.skipped
                if outcome.skipped:
                    continue
            is_called = True
            # The delay of a later call is the wait for it, which the receiver's policy decides.
            is_first = not job.again and not job.note.attempts
            if is_first and len(calls.begins) < TIMED:
                calls.begins.append(began - job.handling.entry.id.ms * 0.001)
        if is_called and len(calls.times) < TIMED:
            calls.times.append(self._clock() - began)

    def buried(self, receiver: str) -> None:
        """Count a dead letter."""
        letters = measurements.LettersBuried(group=self._group, receiver=receiver, count=1)
        telemetry.measure([letters])

    def fold(self) -> None:
        """Hand over what was measured since the last time."""
        for receiver, calls in self._receivers.items():
            self._fold(receiver, calls)

    def _new(self, receiver: str) -> _Receiver:
        calls = self._receivers[receiver] = _Receiver()
        return calls

    def _fold(self, receiver: str, calls: _Receiver) -> None:
        group, folded = self._group, list[Measurement]()
        if calls.handled:
            folded.append(
                measurements.EventsHandled(group=group, receiver=receiver, count=calls.handled)
            )
        if calls.skipped:
            folded.append(
                measurements.EventsSkipped(group=group, receiver=receiver, count=calls.skipped)
            )
        if calls.times:
            times = RECEIVER_TIME.fold(calls.times)
            folded.append(measurements.CallsEnded(group=group, receiver=receiver, times=times))
        if calls.begins:
            # From the clock of the loop to that of the entries.
            delays = START_DELAY.fold(calls.begins, shift=time.time() - self._clock())
            folded.append(measurements.CallsStarted(group=group, receiver=receiver, delays=delays))
        calls.handled = calls.skipped = 0
        calls.times.clear()
        calls.begins.clear()
        if folded:
            telemetry.measure(folded)
