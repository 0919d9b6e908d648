"""What came of a call, and what to do about it: values and pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import EventError
from edgy_bus.retry import Bury, Retry, RetryLater, Snooze


@dataclass(frozen=True, slots=True)
class Done:
    """The receiver has handled the event. `skipped`: it did not have to, an inbox knew it or nothing it wants had changed."""

    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The receiver raised, or took too long."""

    reason: str


@dataclass(frozen=True, slots=True)
class Untouched:
    """Nothing came of the call, through no fault of this event: it is called again at once, and no attempt is counted."""


Outcome = Done | Failed | RetryLater | Snooze | Bury | Untouched


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an entry's unfinished or finished receiver, kept by the broker for whoever owns the entry next."""

    attempts: int = 0
    due: float = 0.0
    """Not to be called before this time, in seconds since 1970."""
    done: bool = False
    kept: bool = False
    """Done, because it was put aside: in the dead letters, or behind a held row."""


@dataclass(frozen=True, slots=True)
class Finish:
    pass


@dataclass(frozen=True, slots=True)
class Again:
    """Call it again at `note.due`."""

    note: Note
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Keep it in the dead letters."""

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
    """What to do after a call, given what was known before it.

    A call that failed and was `shared` with other events is nobody's last: it may be another one that it failed with.
    """
    if isinstance(outcome, Done):
        return Finish()
    if isinstance(outcome, Bury):
        return GiveUp(note.attempts + 1, outcome.reason)
    if isinstance(outcome, Untouched):
        return Again(Note(note.attempts), "the batch was rolled back")
    if isinstance(outcome, Snooze):
        return Again(Note(note.attempts, now + outcome.seconds), "snoozed")
    attempts = note.attempts + 1
    reason = (
        outcome.reason if isinstance(outcome, Failed) else "the receiver asked for another attempt"
    )
    wait = retry.wait(attempts, chance)
    if wait is None:
        blameless = shared and isinstance(outcome, Failed)
        return Again(Note(note.attempts, now), reason) if blameless else GiveUp(attempts, reason)
    if isinstance(outcome, RetryLater) and outcome.after is not None:
        wait = outcome.after
    return Again(Note(attempts, now + wait), reason)


def pack_notes(event_id: str, notes: Mapping[str, Note]) -> bytes:
    """Notes by receiver as bytes, with the event that they are about."""
    return dumps(
        [
            event_id,
            {name: [note.attempts, note.due, note.done, note.kept] for name, note in notes.items()},
        ]
    )


def unpack_notes(event_id: str, raw: bytes | None) -> dict[str, Note]:
    """Notes by receiver; what cannot be read, or is about another event, is taken for nothing, and the event is handled anew.

    A stream that lost its tail gives the numbers of entries out again, under which notes are kept.
    """
    if raw is None:
        return {}
    try:
        about, found = loads(raw)
        if about != event_id:
            return {}
        return {
            name: Note(int(one[0]), float(one[1]), bool(one[2]), bool(one[3]))
            for name, one in found.items()
        }
    except (EventError, AttributeError, TypeError, ValueError, IndexError, KeyError):
        return {}
