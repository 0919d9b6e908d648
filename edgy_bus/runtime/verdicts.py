"""Record the outcomes of calls, and put aside events that receivers have given up.

`outcome.decide` makes each decision, without side effects. `Verdicts.conclude` records the decision
in memory, at once; the report to the broker is owed, and the `Acknowledger` makes it. An event that
is given up is a dead letter or parked before its entry is finished: the `SideWriter` makes these
calls, as often as needed.
"""

import time

from edgy_bus import telemetry
from edgy_bus.brokers.base import LetterLimits
from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.detours import Detours, holds
from edgy_bus.runtime.jobs import NOTHING, STREAM, Foreign, Handling, Job
from edgy_bus.runtime.outcome import (
    Again,
    Decision,
    Done,
    Failed,
    Finish,
    GiveUp,
    Outcome,
    crashed,
    decide,
)
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.telemetry import catalogue

_FINISH = Finish()


class Verdicts:
    """Bring the state of an entry's receivers up to date after a call."""

    def __init__(
        self, term: Term, tools: Tools, acknowledger: Acknowledger, detours: Detours
    ) -> None:
        self._term = term
        self._broker = tools.broker
        self._limits = LetterLimits(tools.settings.letter_retention, tools.settings.most_letters)
        self._stats = tools.stats
        self._course = tools.window.course(term.lease)
        self._acknowledger = acknowledger
        self._detours = detours
        self._failures = tools.failures
        self._meter = tools.meter
        self._breakers = tools.breakers
        self._circuits = tools.breakers.circuits if tools.breakers else {}

    def done(self, job: Job, outcome: Done, began: float | None = None) -> None:
        """Record that a receiver has handled an event.

        Args:
            job: the job that was called.
            outcome: the outcome of the call.
            began: when the call began, if nobody else measures the call.
        """
        if began is not None and self._meter is not None:
            self._meter.done_at_once(job, outcome, began)
        subscription, handling = job.subscription, job.handling
        name = subscription.name
        if outcome.skipped:
            self._stats.skipped += 1
        else:
            self._stats.handled_by[name] += 1
        # An inbox knows repeats better than this process, also after its database was restored.
        if subscription.receiver.options.inbox is None:
            self._course.finish(job.envelope.id, name)
        handling.finish(name)
        self._acknowledger.owe(handling)
        if name in self._circuits and self._breakers is not None and not outcome.skipped:
            self._breakers.succeeded(name)

    def conclude(self, job: Job, outcome: Outcome, *, shared: bool = False) -> Decision:
        """Decide the consequence of a call, and record the decision unless the event is given up.

        Args:
            job: the job that was called.
            outcome: the outcome of the call.
            shared: whether the call had other events too.
        """
        name, handling = job.subscription.name, job.handling
        # The call has ended, so the count that was written before the call is not needed any more.
        if handling.begun:
            handling.begun.pop(name, None)
            # A worker that is killed now leaves the event as one that may have killed its worker.
            self._acknowledger.hurry()
        if type(outcome) is Done:
            self.done(job, outcome)
            return _FINISH
        if type(outcome) is Failed and self._breakers is not None:
            self._breakers.failed(name, job.envelope, outcome.reason, shared=shared)
        retry = job.subscription.receiver.options.retry
        decision = decide(outcome, job.note, retry, time.time(), shared=shared)
        if isinstance(decision, Again):
            self._stats.retries += 1
            job.again = True
            handling.notes[name] = decision.noted
            self._acknowledger.owe(handling)
            self._failures.retried(job.subscription, job.envelope, outcome, decision)
        elif isinstance(decision, GiveUp):
            self._report_given_up(job, outcome, decision)
        return decision

    def crashed(self, job: Job) -> GiveUp | None:
        """Decide to give an event up, if the process ended in the last of its attempts."""
        decision = crashed(job.note, job.subscription.receiver.options.retry)
        if decision is not None:
            self._report_given_up(job, None, decision)
        return decision

    def _report_given_up(self, job: Job, outcome: Outcome | None, decision: GiveUp) -> None:
        # When it is decided: a broker that is full or away may keep the event from its place for
        # hours, and the error must not wait in memory.
        follows = "its row is held" if holds(job) else "dead letter"
        self._failures.gave_up(job.subscription, job.envelope, outcome, decision, follows)

    async def give_up(self, job: Job, decision: GiveUp) -> bool:
        """Put an event aside: into the dead letters, or behind its row, which is held then.

        Returns True. Raises `LeaseLost` and the errors of the broker; safe to repeat.
        """
        name, handling = job.subscription.name, job.handling
        if holds(job):
            letter = handling.letter(name, decision.attempts, decision.reason)
            # Earlier events of the row that are finished and not settled would be parked by the
            # next owner after a crash, and come after the events that are parked behind this one.
            await self._acknowledger.catch_up()
            await self._detours.hold(job, letter)
        else:
            await self._bury(handling, name, decision)
        # Only now: the entry must not be settled before its event is safe.
        handling.put_aside(name, decision.attempts)
        self._acknowledger.owe(handling)
        return True

    async def park_behind(self, job: Job) -> bool:
        """Park an event behind its row, which is held; False if the row is not held any more.

        Raises `LeaseLost` and the errors of the broker; safe to repeat.
        """
        name, handling, attempts = job.subscription.name, job.handling, job.note.attempts
        letter = handling.letter(name, attempts, "its row is held")
        if not await self._detours.park_behind(job, letter):
            job.released = True
            return False
        handling.put_aside(name, attempts)
        self._acknowledger.owe(handling)
        return True

    async def discard(self, foreign: Foreign) -> bool:
        """Put an entry that is not an event into the dead letters, byte for byte.

        Returns True. Raises `LeaseLost` and the errors of the broker; safe to repeat.
        """
        handling = foreign.handling
        if not handling.notes.get(STREAM, NOTHING).done:
            await self._bury(handling, STREAM, GiveUp(0, foreign.reason))
            telemetry.emit(
                catalogue.ForeignEntry(
                    group=self._term.group,
                    partition=str(self._term.lease.partition),
                    entry=str(handling.entry.id),
                    reason=foreign.reason,
                )
            )
        handling.put_aside(STREAM, 0)
        self._acknowledger.owe(handling)
        return True

    async def _bury(self, handling: Handling, receiver: str, decision: GiveUp) -> None:
        """Keep a dead letter."""
        # Before the entry is settled, and together with the proof: a crash between two steps would
        # lose the event, or bury it twice.
        letter = handling.letter(receiver, decision.attempts, decision.reason)
        lease = self._term.lease
        removed = await self._broker.bury(lease, letter, handling.kept, self._limits)
        if removed:
            telemetry.emit(
                catalogue.LettersRemoved(
                    group=self._term.group, partition=str(lease.partition), count=removed
                )
            )
        self._stats.dead += 1
        if self._meter is not None:
            self._meter.buried(receiver)
