"""Decide the consequences of a call: values and pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import EventError
from edgy_bus.retry import Bury, Retry, RetryLater, Snooze

_LONGEST_REASON = 2_000


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
    """Say that the receiver raised an error, or took too long."""

    reason: str


@dataclass(frozen=True, slots=True)
class Untouched:
    """Say that the call was undone, through no fault of this event.

    The receiver is called again at once, and no attempt is counted.
    """


Outcome = Done | Failed | RetryLater | Snooze | Bury | Untouched


@dataclass(frozen=True, slots=True)
class Note:
    """Describe a receiver's state for an entry. The broker keeps notes for the next owner.

    Attributes:
        attempts: calls that have failed, or that were begun when the process died.
        due: no call before this time, in seconds since 1970.
        done: the receiver has finished with the entry.
        kept: the receiver has finished because the event was put aside, in the dead letters or
            behind a held row.
    """

    attempts: int = 0
    due: float = 0.0
    done: bool = False
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Decide that the receiver has finished with the event."""


@dataclass(frozen=True, slots=True)
class Again:
    """Decide to call the receiver again at `note.due`."""

    note: Note
    reason: str


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
            return GiveUp(note.attempts + 1, bounded(reason))
        case Untouched():
            return Again(Note(note.attempts), "the batch was rolled back")
        case Snooze(seconds):
            return Again(Note(note.attempts, now + seconds), "snoozed")
        case RetryLater(after):
            reason = "the receiver asked for another attempt"
            return _retry(note, retry, now, chance, reason=reason, asked=after)
        case Failed(reason):
            decision = _retry(note, retry, now, chance, reason=reason)
            # Called again alone, and only then given up, if it fails alone.
            innocent = shared and isinstance(decision, GiveUp)
            return Again(Note(note.attempts, now), reason) if innocent else decision


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
        wait = retry.wait(attempts, chance)
    except Exception as error:  # noqa: BLE001 - a subclass of Retry is the application's code
        return GiveUp(attempts, f"{reason}; the retry policy failed: {describe(error)}")
    if wait is None:
        return GiveUp(attempts, reason)
    # The receiver's own delay changes the moment of the attempt, never the number of attempts: a
    # receiver that always asks for another attempt would keep its row for ever.
    return Again(Note(attempts, now + (wait if asked is None else asked)), reason)


def crashed(note: Note, retry: Retry) -> GiveUp | None:
    """Decide to give an event up if the process died in the last of its attempts, else None."""
    # Only attempts that were counted before the call can reach the limit without an outcome.
    if note.attempts < retry.attempts:
        return None
    reason = f"the process of its worker ended in the last of {note.attempts} attempts"
    return GiveUp(note.attempts, reason)


def pack_notes(event_id: str, notes: Mapping[str, Note]) -> bytes:
    """Encode notes by receiver, together with the id of the event that they are about."""
    states = {name: [note.attempts, note.due, note.done, note.kept] for name, note in notes.items()}
    return dumps([event_id, states])


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
    except (EventError, AttributeError, TypeError, ValueError, IndexError, KeyError):
        return {}


def _note(state: Sequence[Any]) -> Note:
    return Note(int(state[0]), float(state[1]), bool(state[2]), bool(state[3]))


def describe(error: BaseException) -> str:
    """Return the type and the text of an error, also of an error whose text cannot be made."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error's __str__ is the application's code
        text = "(its text cannot be made)"
    name = type(error).__name__
    return bounded(f"{name}: {text}" if text else name)


def bounded(reason: str) -> str:
    """Return a reason that fits in a log line and a dead letter."""
    return reason[:_LONGEST_REASON]
