"""Describe the work in hand: entries, and each receiver's turn at an entry."""

from collections import Counter
from dataclasses import dataclass, field

from edgy_bus.brokers.base import DeadLetter, Entry, Kept
from edgy_bus.codec import Envelope
from edgy_bus.runtime.outcome import Note, pack_notes
from edgy_bus.runtime.subscriptions import Subscription

STREAM = "*"
"""In a dead letter, the receiver's name for an entry that is not an event."""

NOTHING = Note()


@dataclass(slots=True)
class Stats:
    """Count the work of a group in a process; part of the worker's report to the broker."""

    handled_by: Counter[str] = field(default_factory=Counter)
    """Receiver to the events that it has handled."""
    skipped: int = 0
    retries: int = 0
    dead: int = 0

    @property
    def handled(self) -> int:
        """Return the events that all receivers have handled."""
        return self.handled_by.total()


@dataclass(slots=True, eq=False)
class Handling:
    """Hold an entry in hand, and the state of each receiver that the entry concerns.

    Attributes:
        entry: the entry, as the broker delivered it.
        notes: the state of receivers that differs from "not called yet".
        unfinished: how many receivers have not finished with the entry.
        begun: notes that would be true if this process died now, for receivers that are running.
        size: bytes of the entry.
        row: the row of the event, if the events of the row have an order.
        left_out: the receivers that are not called here, because they read in groups of their own.
    """

    entry: Entry
    notes: dict[str, Note]
    unfinished: int = 0
    begun: dict[str, Note] | None = None
    size: int = 0
    row: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def event_id(self) -> str:
        """Return the event's id, as text even if the bytes are no text."""
        return self.entry.fields.get(b"id", b"").decode("latin-1")

    @property
    def kept(self) -> list[Kept]:
        """Return the proofs that the broker must still know when this entry is reported."""
        event_id = self.entry.fields.get(b"id", b"")
        return [
            Kept(self.entry.id, name, event_id) for name, note in self.notes.items() if note.kept
        ]

    def drop_data(self) -> None:
        """Forget the fields that nobody needs once the entry is finished."""
        event_id = self.entry.fields.get(b"id", b"")
        self.entry = self.entry._replace(fields={b"id": event_id})

    def finish(self, receiver: str) -> None:
        """Mark a receiver as finished with the entry."""
        self.unfinished -= 1
        # The last receiver needs no note: the entry is settled instead.
        if self.unfinished:
            attempts = self.notes.get(receiver, NOTHING).attempts
            self.notes[receiver] = Note(attempts, done=True)

    def put_aside(self, receiver: str, attempts: int) -> None:
        """Mark a receiver as finished because its event was put aside: buried or parked."""
        self.unfinished -= 1
        # Noted for the last receiver too: the proof in the note lets the broker refuse to settle
        # an entry whose event was put aside in a history that a failover has erased.
        self.notes[receiver] = Note(attempts, done=True, kept=True)

    def packed(self) -> bytes:
        """Return the notes for the broker as bytes, with the attempts that have begun."""
        return pack_notes(self.event_id, {**self.notes, **(self.begun or {})})

    def letter(self, receiver: str, attempts: int, reason: str) -> DeadLetter:
        """Return the entry as a dead letter of a receiver."""
        return DeadLetter(
            entry=self.entry.id,
            receiver=receiver,
            reason=reason,
            attempts=attempts,
            fields=self.entry.fields,
        )


@dataclass(slots=True, eq=False)
class Job:
    """Hold a receiver's turn at an entry.

    Attributes:
        handling: the entry.
        envelope: the entry's event, with its data still encoded.
        subscription: the receiver.
        size: the job's share of the bytes of the entry, which the entry's other jobs have as well.
        plain: whether this is the first delivery to a receiver of single events. As long as the
            entry has no notes and no row is held, such a job is called without another look.
        again: whether this tenure has called the receiver already.
        released: whether the broker has answered that the event's row is not held any more.
        waited: whether the job has waited in this tenure, as long as its note says.
    """

    handling: Handling
    envelope: Envelope
    subscription: Subscription
    size: int = 0
    plain: bool = False
    again: bool = False
    released: bool = False
    waited: bool = False

    @property
    def note(self) -> Note:
        """Return the receiver's state."""
        return self.handling.notes.get(self.subscription.name, NOTHING)

    @property
    def inherited(self) -> bool:
        """Return whether an earlier tenure had the entry and did not finish it."""
        return self.handling.entry.deliveries > 1

    @property
    def alone(self) -> bool:
        """Return whether the job is kept out of batches.

        Such an event may be the reason that a batch failed, or that a batch crashed its worker.
        """
        return self.again or self.note.attempts > 0 or self.handling.entry.deliveries > 2


@dataclass(slots=True, eq=False)
class Foreign:
    """Hold an entry that is not an event of this library, and the reason."""

    handling: Handling
    reason: str

    @property
    def size(self) -> int:
        """Return the bytes of the entry."""
        return self.handling.size


Work = Job | Foreign
