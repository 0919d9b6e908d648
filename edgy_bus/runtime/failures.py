"""Report the failed calls of receivers: a line in the log, and a call of the application's hooks.

A downstream that is away fails thousands of calls in a minute, and each says the same. So the lines
of a receiver and a kind of error have a bounded rate, and what was left out is counted and
reported. The metrics and the level DEBUG know every failed call.
"""

import asyncio
from dataclasses import dataclass, field

from edgy_bus import telemetry
from edgy_bus.codec import Envelope
from edgy_bus.reasons import kind_of, trace_of
from edgy_bus.retrying import Bury, RetryLater, Snooze
from edgy_bus.runtime.hooks import ErrorHooks, FailedCall
from edgy_bus.runtime.outcome import Again, Failed, GiveUp, Outcome, Untouched
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.telemetry import catalogue

PERIOD = 60.0
"""Seconds in which lines are counted."""

RETRIES = 5
"""Lines about calls that are repeated, for each receiver and kind of error in a period."""

GIVE_UPS = 20
"""Lines about events that are given up, likewise."""

_MOST_KINDS = 1_000
"""Kinds that are counted apart: a type of error may be made anew for each call."""

Kind = tuple[str, str, str]
"""Group, receiver, and the name of the error's type."""


@dataclass(slots=True)
class Count:
    """Count the failed calls of a kind in a period that ends at `until`."""

    until: float
    retried: int = 0
    gave_up: int = 0

    @property
    def left_out(self) -> tuple[int, int]:
        """Return how many lines about retries, and about given up events, were left out."""
        return max(0, self.retried - RETRIES), max(0, self.gave_up - GIVE_UPS)


@dataclass(slots=True)
class Budget:
    """Decide which failed calls are worth a line. Pure: the time is given."""

    counts: dict[Kind, Count] = field(default_factory=dict)

    def allows(self, kind: Kind, now: float, *, gave_up: bool) -> bool:
        """Count a failed call, and return whether it gets a line."""
        if kind not in self.counts and len(self.counts) >= _MOST_KINDS:
            kind = ("", "", "other errors")
        count = self.counts.setdefault(kind, Count(now + PERIOD))
        if gave_up:
            count.gave_up += 1
            return count.gave_up <= GIVE_UPS
        count.retried += 1
        return count.retried <= RETRIES

    def ended(self, now: float) -> dict[Kind, Count]:
        """Take out the counts whose period has ended."""
        ended = {kind: count for kind, count in self.counts.items() if count.until <= now}
        for kind in ended:
            del self.counts[kind]
        return ended


class Failures:
    """Report the failed calls of the receivers of a group.

    Args:
        hooks: get each error of a receiver; None without hooks.
    """

    def __init__(self, hooks: ErrorHooks | None = None) -> None:
        self._hooks = hooks
        self._budget = Budget()
        self._timer: asyncio.TimerHandle | None = None

    def retried(
        self, subscription: Subscription, envelope: Envelope, outcome: Outcome, decision: Again
    ) -> None:
        """Report a call that will be repeated."""
        note = decision.note
        # The receiver asked to wait, or was not called at all: nothing failed.
        failed = not isinstance(outcome, Snooze | Untouched)
        shown = failed and self._has_line(subscription, outcome, gave_up=False)
        telemetry.emit(
            catalogue.ReceiverRetried(
                group=subscription.group,
                receiver=subscription.name,
                event=f"{envelope.model}.{envelope.signal}",
                event_id=envelope.id,
                attempts=note.attempts,
                reason=decision.reason,
                follows=f"attempt {note.attempts + 1} in {note.wait:.3g} s",
                trace=_trace(outcome) if shown else "",
                quiet=not shown,
            )
        )
        self._call_hooks(subscription, envelope, outcome, note.attempts, will_retry=True)

    def gave_up(
        self,
        subscription: Subscription,
        envelope: Envelope,
        outcome: Outcome | None,
        decision: GiveUp,
        follows: str,
    ) -> None:
        """Report an event that a receiver gives up.

        Args:
            subscription: the receiver.
            envelope: the event.
            outcome: the outcome of the last call; None if the process ended in the call.
            decision: the reason, and the number of attempts.
            follows: what happens to the event.
        """
        shown = self._has_line(subscription, outcome, gave_up=True)
        telemetry.emit(
            catalogue.ReceiverGaveUp(
                group=subscription.group,
                receiver=subscription.name,
                event=f"{envelope.model}.{envelope.signal}",
                event_id=envelope.id,
                attempts=decision.attempts,
                reason=decision.reason,
                follows=follows,
                trace=_trace(outcome) if shown else "",
                quiet=not shown,
            )
        )
        self._call_hooks(subscription, envelope, outcome, decision.attempts, will_retry=False)

    def close(self) -> None:
        """Report what is left to report. Called when the group's consumer ends."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._report(self._budget.ended(float("inf")))

    def _has_line(
        self, subscription: Subscription, outcome: Outcome | None, *, gave_up: bool
    ) -> bool:
        loop = asyncio.get_running_loop()
        kind = (subscription.group, subscription.name, _kind(outcome))
        if self._timer is None:
            self._timer = loop.call_later(PERIOD, self._end_period)
        return self._budget.allows(kind, loop.time(), gave_up=gave_up)

    def _end_period(self) -> None:
        loop = asyncio.get_running_loop()
        self._report(self._budget.ended(loop.time()))
        ends = [count.until for count in self._budget.counts.values()]
        self._timer = loop.call_at(min(ends), self._end_period) if ends else None

    def _report(self, ended: dict[Kind, Count]) -> None:
        for (group, receiver, error), count in ended.items():
            retried, gave_up = count.left_out
            if retried or gave_up:
                telemetry.emit(
                    catalogue.ReceiverFailsOften(
                        group=group,
                        receiver=receiver,
                        error=error,
                        retried=retried,
                        gave_up=gave_up,
                    )
                )

    def _call_hooks(
        self,
        subscription: Subscription,
        envelope: Envelope,
        outcome: Outcome | None,
        attempt: int,
        *,
        will_retry: bool,
    ) -> None:
        error = _error_of(outcome)
        if self._hooks is None or error is None:
            return
        self._hooks.put(
            FailedCall(
                exception=error,
                group=subscription.group,
                receiver=subscription.name,
                model=envelope.model,
                signal=envelope.signal,
                event_id=envelope.id,
                subject=envelope.subject,
                attempt=attempt,
                will_retry=will_retry,
            )
        )


def _error_of(outcome: Outcome | None) -> BaseException | None:
    return outcome.error if isinstance(outcome, Failed | Bury) else None


def _trace(outcome: Outcome | None) -> str:
    error = _error_of(outcome)
    return "" if error is None else trace_of(error)


def _kind(outcome: Outcome | None) -> str:
    """Return the kind of a failure, under which similar failures are counted."""
    error = _error_of(outcome)
    if error is not None:
        return kind_of(error)
    match outcome:
        case RetryLater():
            return "retry()"
        case Bury():
            return "dead_letter()"
    return "no error"
