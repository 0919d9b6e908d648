"""Record the outcomes of calls, and put aside events that receivers have given up.

`outcome.decide` makes each decision, without side effects. `Verdicts.conclude` records the decision
in memory, at once; the report to the broker is owed, and the `Acknowledger` makes it. The exception
is an event that is given up: `Verdicts.give_up` waits until the event is a dead letter or parked.
"""

import time
from functools import partial

from edgy_bus import telemetry
from edgy_bus.runtime.acknowledger import Acknowledger
from edgy_bus.runtime.detours import Detours, holds
from edgy_bus.runtime.jobs import NOTHING, STREAM, Foreign, Handling, Job
from edgy_bus.runtime.outcome import (
    Again,
    Decision,
    Done,
    Finish,
    GiveUp,
    Note,
    Outcome,
    decide,
)
from edgy_bus.runtime.patience import patiently
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
        self._pause = tools.settings.backoff / 4
        self._stats = tools.stats
        self._window = tools.window
        self._acknowledger = acknowledger
        self._detours = detours

    def done(self, job: Job, outcome: Done) -> None:
        """Record that a receiver has handled an event."""
        if outcome.skipped:
            self._stats.skipped += 1
        else:
            self._stats.handled += 1
        subscription, handling = job.subscription, job.handling
        # An inbox knows repeats better than this process, also after its database was restored.
        if subscription.receiver.options.inbox is None:
            self._window.add(job.envelope.id, subscription.name)
        handling.finish(subscription.name)
        self._acknowledger.owe(handling)

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
        if type(outcome) is Done:
            self.done(job, outcome)
            return _FINISH
        retry = job.subscription.receiver.options.retry
        decision = decide(outcome, job.note, retry, time.time(), shared=shared)
        if isinstance(decision, Again):
            self._stats.retries += 1
            job.again = True
            handling.notes[name] = decision.note
            self._acknowledger.owe(handling)
            self._report(catalogue.ReceiverRetried, job, decision.note.attempts, decision.reason)
        return decision

    async def give_up(self, job: Job, decision: GiveUp) -> None:
        """Put an event aside: into the dead letters, or behind its row, which is held then.

        Waits as long as the broker is away. Raises `LeaseLost`.
        """
        name, handling = job.subscription.name, job.handling
        if holds(job):
            letter = handling.letter(name, decision.attempts, decision.reason)
            await self._detours.hold(job, letter)
        else:
            await self._bury(handling, name, decision)
        self._report(catalogue.ReceiverGaveUp, job, decision.attempts, decision.reason)
        # Only now: the entry must not be settled before its event is safe.
        handling.put_aside(name, decision.attempts)
        self._acknowledger.owe(handling)

    async def park_behind(self, job: Job) -> bool:
        """Park an event behind its row, which is held; False if the row is not held any more.

        Waits as long as the broker is away. Raises `LeaseLost`.
        """
        name, handling, attempts = job.subscription.name, job.handling, job.note.attempts
        letter = handling.letter(name, attempts, "its row is held")
        if not await self._detours.park_behind(job, letter):
            return False
        handling.put_aside(name, attempts)
        self._acknowledger.owe(handling)
        return True

    async def discard(self, foreign: Foreign) -> None:
        """Put an entry that is not an event into the dead letters, byte for byte.

        Waits as long as the broker is away. Raises `LeaseLost`.
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

    async def _bury(self, handling: Handling, receiver: str, decision: GiveUp) -> None:
        """Keep a dead letter."""
        # Before the entry is settled, and together with the note that says so: a crash between two
        # steps would lose the event, or bury it twice.
        letter = handling.letter(receiver, decision.attempts, decision.reason)
        notes = handling.packed({receiver: Note(decision.attempts, done=True, kept=True)})
        bury = partial(self._broker.bury, self._term.lease, letter, notes, handling.kept)
        await patiently(bury, self._pause)
        self._stats.dead += 1

    def _report(
        self,
        notice: type[catalogue.ReceiverRetried | catalogue.ReceiverGaveUp],
        job: Job,
        attempts: int,
        reason: str,
    ) -> None:
        telemetry.emit(
            notice(
                group=self._term.group,
                receiver=job.subscription.name,
                event=f"{job.envelope.model}.{job.envelope.signal}",
                event_id=job.envelope.id,
                attempts=attempts,
                reason=reason,
            )
        )
