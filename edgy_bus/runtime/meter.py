"""Measure the calls of receivers, and fold the times of a page of calls at once.

A call adds numbers to lists. The lists become measurements when they are full, and in every round
of the consumer, so that a call costs next to nothing, no matter who collects measurements.
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

PAGE = 500
"""Calls of a receiver that are folded together at most."""


@dataclass(slots=True)
class _Receiver:
    handled: int = 0
    skipped: int = 0
    times: list[float] = field(default_factory=list)
    begins: list[float] = field(default_factory=list)
    """The beginning of a first call by the loop's clock, less the time of the entry."""
    at_once: list[float] = field(default_factory=list)
    """The same of calls that handled their event without waiting, which are nearly all."""


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
        # Counted as handled by their number when they are folded.
        begins = calls.at_once
        begins.append(began - job.handling.entry.id.ms * 0.001)
        calls.times.append(self._clock() - began)
        if len(begins) >= PAGE:
            self._fold(name, calls)

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
            if not job.again and not job.note.attempts:
                calls.begins.append(began - job.handling.entry.id.ms * 0.001)
        if is_called:
            calls.times.append(self._clock() - began)
        if len(calls.begins) >= PAGE:
            self._fold(name, calls)

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
        begins, handled = calls.begins + calls.at_once, calls.handled + len(calls.at_once)
        if handled:
            folded.append(measurements.EventsHandled(group=group, receiver=receiver, count=handled))
        if calls.skipped:
            folded.append(
                measurements.EventsSkipped(group=group, receiver=receiver, count=calls.skipped)
            )
        if calls.times:
            times = RECEIVER_TIME.fold(calls.times)
            folded.append(measurements.CallsEnded(group=group, receiver=receiver, times=times))
        if begins:
            # From the clock of the loop to that of the entries.
            delays = START_DELAY.fold(begins, shift=time.time() - self._clock())
            folded.append(measurements.CallsStarted(group=group, receiver=receiver, delays=delays))
        calls.handled = calls.skipped = 0
        calls.times.clear()
        calls.begins.clear()
        calls.at_once.clear()
        if folded:
            telemetry.measure(folded)
