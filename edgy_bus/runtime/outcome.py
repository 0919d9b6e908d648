"""Decide the consequences of a call: values and pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.reasons import bounded, describe
from edgy_bus.retrying import (
    LONGEST,
    Bury,
    Retry,
    RetryLater,
    Snooze,
    is_finite,
    is_wait,
    shown,
)

_LONGEST_PART = 1_000
"""Characters of the first of two reasons."""

_NOTED = 200
"""Characters of a reason in a note: as many notes are kept as events wait."""


@dataclass(frozen=True, slots=True)
class Done:
    """Say that the receiver has handled the event.

    Attributes:
        skipped: the receiver did not have to run: its inbox knew the event, or its filter did not
            want the event.
    """

    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """Say that the receiver raised an error, or took too long.

    Attributes:
        reason: the reason, as the dead letter keeps it.
        error: the error, for the log and for `Bus.on_error`. It keeps the variables of the call
            alive, and is dropped when the failure is reported.
    """

    reason: str
    error: BaseException | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Untouched:
    """Say that the call was undone, or not made, through no fault of this event.

    The receiver is called again after `wait` seconds, and no attempt is counted.
    """

    reason: str = "the batch was rolled back"
    wait: float = 0.0


Outcome = Done | Failed | RetryLater | Snooze | Bury | Untouched


@dataclass(frozen=True, slots=True)
class Note:
    """Describe a receiver's state for an entry. The broker keeps notes for the next owner.

    Attributes:
        attempts: calls that have failed, or that were begun when the process died.
        due: no call before this time, in seconds since 1970 by the clock of the note's writer.
        done: the receiver has finished with the entry.
        kept: the receiver has finished because the event was put aside, in the dead letters or
            behind a held row.
        wait: the seconds until `due` when the note was written.
        reason: why the last call is repeated, for operators; no decision depends on the reason.
    """

    attempts: int = 0
    due: float = 0.0
    done: bool = False
    kept: bool = False
    wait: float = 0.0
    reason: str = field(default="", compare=False)

    def remaining(self, now: float) -> float:
        """Return the seconds until the next call, for an owner who has not waited yet.

        Never more than the wait that was decided, no matter how the clocks of two owners differ,
        or which steps a clock has made meanwhile.

        Args:
            now: the time, in seconds since 1970.
        """
        return max(0.0, min(self.wait, self.due - now))


@dataclass(frozen=True, slots=True)
class Finish:
    """Decide that the receiver has finished with the event."""


@dataclass(frozen=True, slots=True)
class Again:
    """Decide to call the receiver again in `note.wait` seconds."""

    note: Note
    reason: str

    @property
    def noted(self) -> Note:
        """Return the note with the beginning of the reason."""
        # The text of an error may be no valid text, and JSON has to hold every note.
        text = str.encode(self.reason[:_NOTED], "utf-8", "replace")
        return replace(self.note, reason=text.decode())


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Decide to put the event aside: into the dead letters, or behind a held row."""

    attempts: int
    reason: str


Decision = Finish | Again | GiveUp


def decide(
    outcome: Outcome,
    note: Note,
    retry: Retry,
    now: float,
    chance: float | None = None,
    *,
    shared: bool = False,
) -> Decision:
    """Decide the consequence of a call.

    Args:
        outcome: the outcome of the call.
        note: the receiver's state before the call.
        retry: the receiver's policy.
        now: the time, in seconds since 1970.
        chance: replaces the policy's random number, for tests.
        shared: whether the call had other events too. A shared call that failed is no event's last
            attempt: another event may be the reason.
    """
    match outcome:
        case Done():
            return Finish()
        case Bury(reason):
            return GiveUp(note.attempts + 1, reason)
        case Untouched(reason, wait):
            again = _later(note.attempts, wait, now) if wait else Note(note.attempts)
            return Again(again, reason)
        case Snooze(seconds):
            return Again(_later(note.attempts, seconds, now), "snoozed")
        case RetryLater(after):
            reason = "the receiver asked for another attempt"
            return _retry(note, retry, now, chance, reason=reason, asked=after)
        case Failed(reason):
            decision = _retry(note, retry, now, chance, reason=reason)
            # Called again alone, and only then given up, if it fails alone.
            innocent = shared and isinstance(decision, GiveUp)
            return Again(Note(note.attempts), reason) if innocent else decision


def _retry(
    note: Note,
    retry: Retry,
    now: float,
    chance: float | None,
    *,
    reason: str,
    asked: float | None = None,
) -> Again | GiveUp:
    """Count a failed attempt, and decide by the policy; a delay that the receiver asked wins."""
    attempts = note.attempts + 1
    try:
        wait = _wait(retry, attempts, chance)
    except BaseException as error:  # noqa: BLE001 - a subclass of Retry is the application's code
        failed = f"the retry policy failed: {describe(error)}"
        return GiveUp(attempts, bounded(f"{reason[:_LONGEST_PART]}; {failed}"))
    if wait is None:
        return GiveUp(attempts, reason)
    # The receiver's own delay changes the moment of the attempt, never the number of attempts: a
    # receiver that always asks for another attempt would keep its row for ever.
    return Again(_later(attempts, wait if asked is None else asked, now), reason)


def _wait(retry: Retry, attempts: int, chance: float | None) -> float | None:
    wait = retry.wait(attempts, chance)
    if wait is not None and not is_wait(wait):
        raise ConfigurationError(f"wait({attempts}) returned {shown(wait)}, which is no wait")
    return wait


def _later(attempts: int, wait: float, now: float) -> Note:
    return Note(attempts, now + wait, wait=wait)


def crashed(note: Note, retry: Retry) -> GiveUp | None:
    """Decide to give an event up if the process died in the last of its attempts, else None."""
    # Only attempts that were counted before the call can reach the limit without an outcome.
    if note.attempts < retry.attempts:
        return None
    reason = f"the process of its worker ended in the last of {note.attempts} attempts"
    return GiveUp(note.attempts, reason)


def pack_notes(event_id: str, notes: Mapping[str, Note]) -> bytes:
    """Encode notes by receiver, together with the id of the event that they are about."""
    return dumps([event_id, {name: _state(note) for name, note in notes.items()}])


def _state(note: Note) -> list[object]:
    state: list[object] = [note.attempts, note.due, note.done, note.kept, note.wait]
    # Older releases read the first five.
    return [*state, note.reason] if note.reason else state


def unpack_notes(event_id: str, raw: bytes | None) -> dict[str, Note]:
    """Decode notes by receiver; empty for unreadable bytes, and for notes about another event.

    A stream that lost its tail gives the ids of lost entries to other events, and notes are kept by
    entry id. Without the comparison of event ids, a new event would inherit "done" from a lost one.
    """
    if raw is None:
        return {}
    try:
        subject, states = loads(raw)
        # See above: an entry id may have belonged to a lost event.
        if subject != event_id:
            return {}
        return {name: _note(state) for name, state in states.items()}
    except (EventError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError):
        return {}


def _note(state: Sequence[Any]) -> Note:
    due, attempts = float(state[1]), max(0, int(state[0]))
    # Notes of older releases have no wait: their writer's clock is trusted.
    wait = float(state[4]) if len(state) > 4 else LONGEST
    if not (is_finite(due) and is_wait(wait)):
        due = wait = 0.0
    reason = state[5][:_NOTED] if len(state) > 5 and isinstance(state[5], str) else ""
    return Note(attempts, due, bool(state[2]), bool(state[3]), wait if due else 0.0, reason)
