"""What a session has in hand: entries, and each receiver's turn at one of them."""

from dataclasses import dataclass

from edgy_bus.brokers.base import Entry, Kept
from edgy_bus.codec import Envelope
from edgy_bus.runtime.outcome import Note, pack_notes
from edgy_bus.runtime.subscriptions import Subscription

STREAM = "*"
"""In a dead letter, the receiver's name for an entry that no receiver could be found for because it is not an event."""

NOTHING = Note()


@dataclass(slots=True)
class Stats:
    """What a worker has done for a group, told to whoever asks the broker."""

    handled: int = 0
    skipped: int = 0
    retries: int = 0
    dead: int = 0


@dataclass(slots=True, eq=False)
class Handling:
    """An entry in hand, and what is known about its receivers."""

    entry: Entry
    notes: dict[str, Note]
    unfinished: int = 0
    """Receivers that have not finished with it."""
    begun: dict[str, Note] | None = None
    """What would be known about receivers that run now if this process died meanwhile."""

    @property
    def event_id(self) -> str:
        return self.entry.fields.get(b"id", b"").decode("latin-1")

    @property
    def kept(self) -> list[Kept]:
        """What the broker has to know still when it is told of this entry."""
        event_id = self.entry.fields.get(b"id", b"")
        return [
            Kept(self.entry.id, name, event_id) for name, note in self.notes.items() if note.kept
        ]

    def packed(self, also: dict[str, Note] | None = None) -> bytes:
        return pack_notes(self.event_id, {**self.notes, **(self.begun or {}), **(also or {})})


@dataclass(slots=True, eq=False)
class Job:
    """One receiver's turn at one entry."""

    handling: Handling
    envelope: Envelope
    subscription: Subscription
    plain: bool = False
    """Nobody has had it before, and it is no batch's: it is called with nothing to look up, as long as there are no notes about it."""
    again: bool = False
    """It has been called by this owner already."""

    @property
    def alone(self) -> bool:
        """Whether it is kept out of batches: it may be what they failed or a process ended with."""
        return self.again or self.note.attempts > 0 or self.handling.entry.deliveries > 2

    @property
    def note(self) -> Note:
        return self.handling.notes.get(self.subscription.name, NOTHING)


@dataclass(slots=True, eq=False)
class Foreign:
    """An entry that is not an event of ours, and why."""

    handling: Handling
    reason: str


Work = Job | Foreign
