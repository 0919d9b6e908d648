"""The data of the memory broker: streams, and the groups that read them."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from edgy_bus.brokers.base import (
    REMOVED,
    START,
    Aside,
    DeadLetter,
    EntryId,
    HeldState,
    Kept,
    Landmark,
    LetterLimits,
    Parked,
    RowKey,
    StreamHead,
)
from edgy_bus.codec import Wire
from edgy_bus.signing import FIELD


@dataclass
class Group:
    """Keep the progress, the notes and the side streams of a group on one stream."""

    position: EntryId = START
    read: int = 0
    """Entries that were read so far."""
    pending: dict[EntryId, str] = field(default_factory=dict)
    """Unfinished entry to the tenure that read the entry, in order of entries."""
    deliveries: dict[EntryId, int] = field(default_factory=dict)
    """Unfinished entry to the number of its tenures, if more than one tenure had the entry."""
    notes: dict[EntryId, bytes] = field(default_factory=dict)
    numbers: dict[EntryId, tuple[str, int]] = field(default_factory=dict)
    """Unfinished entry to the tenure that wrote its notes, and their number."""
    kept: set[Kept] = field(default_factory=set)
    """The proofs of dead letters and parked events."""
    dead: dict[EntryId, DeadLetter] = field(default_factory=dict)
    """Dead letters by their ids, oldest first."""
    last_dead: EntryId = START
    removed: int = 0
    """Dead letters that were removed because of the limits of the group."""
    held: dict[RowKey, HeldState] = field(default_factory=dict)
    parked: dict[RowKey, list[Parked]] = field(default_factory=dict)
    last_parked: int = 0
    writes: int = 0
    """The number of the last write of a tenure."""
    exists: bool = True
    """False while the stream has lost the group and only notes and side streams remain."""

    def bury(self, letter: DeadLetter, now: Callable[[], float]) -> None:
        """Keep a dead letter."""
        # As in streams of Redis, ids rise even if the clock goes back.
        self.last_dead = max(EntryId(int(now() * 1000), 0), self.last_dead.next)
        self.dead[self.last_dead] = letter

    def remove_letters(self, limits: LetterLimits, now: float) -> int:
        """Remove the oldest letters beyond the limits; return how many were removed."""
        oldest = list(islice(self.dead, REMOVED))
        count = 0
        if limits.seconds is not None:
            last = EntryId(int((now - limits.seconds) * 1000), 2**64 - 1)
            count = sum(entry <= last for entry in oldest)
        if limits.most is not None:
            # The letter that is about to be buried counts, and stays.
            count = max(count, min(len(oldest), len(self.dead) + 1 - limits.most))
        for entry in oldest[:count]:
            del self.dead[entry]
        self.removed += count
        return count

    def park(self, row: RowKey, letter: DeadLetter, *, replayed: bool = False) -> EntryId:
        """Append an event to the parked events of a row."""
        self.last_parked += 1
        new = EntryId(0, self.last_parked)
        self.parked[row] = [*self.parked.get(row, ()), Parked(new, letter, replayed)]
        return new

    def come_back(self) -> None:
        """Begin at the start of the stream, if the stream has lost the group."""
        if self.exists:
            return
        self.exists = True
        # All entries come again. A proof of before would keep an event from being parked behind an
        # earlier event of its row, which is parked anew.
        self.notes.clear()
        self.numbers.clear()
        self.kept.clear()

    def inherited(self, holder: str) -> list[EntryId]:
        """Return the entries that tenures other than `holder` left unfinished, oldest first."""
        return [entry for entry, reader in sorted(self.pending.items()) if reader != holder]

    def finish(self, entry: EntryId) -> None:
        """Remove everything about a finished entry but its proofs."""
        self.pending.pop(entry, None)
        self.deliveries.pop(entry, None)
        self.notes.pop(entry, None)
        self.numbers.pop(entry, None)

    def proofs_of(self, entry: EntryId, fields: Mapping[bytes, bytes]) -> list[Kept]:
        """Return the proofs of an entry, for the event that the entry has now."""
        event_id = fields.get(b"id", b"")
        return [each for each in sorted(self.kept) if each[::2] == (entry, event_id)]


@dataclass
class Attendance:
    """Keep which receivers of a group take part in a stream, and which are set aside.

    The shapes and words are those of `arrange.lua`.
    """

    established: float | None = None
    """The time of the first arrangement."""
    floors: dict[str, tuple[str, EntryId]] = field(default_factory=dict)
    """Receiver that takes part to its floor, and the epoch in which the floor counts."""
    asides: dict[str, Aside] = field(default_factory=dict)
    due: set[str] = field(default_factory=set)
    """Receivers that are set aside, and that the owner of the stream wants back."""
    moving: dict[str, EntryId] = field(default_factory=dict)
    """Receiver to the last unfinished entry that was moved to the receiver's own group."""

    def floor(self, receiver: str, epoch: str | None) -> EntryId:
        """Return the entry up to which nothing is the receiver's."""
        of_epoch, floor = self.floors.get(receiver, ("", START))
        return floor if of_epoch == epoch else START

    def remove(self, receiver: str) -> None:
        """Forget that a receiver was set aside."""
        self.asides.pop(receiver, None)
        self.due.discard(receiver)
        self.moving.pop(receiver, None)


def bytes_of(fields: Mapping[bytes, bytes]) -> int:
    """Return the size of an entry, as budgets count."""
    return sum(map(len, fields.values()))


@dataclass
class Stream:
    """Keep the entries, the epoch, the groups and the leases of one partition."""

    entries: dict[EntryId, dict[bytes, bytes]] = field(default_factory=dict)
    epoch: str | None = None
    last: EntryId = START
    """The last id that the stream gave out. Trimming does not change it."""
    size: tuple[int, int] = (0, 0)
    """The number of entries and bytes after the last announcement."""
    groups: dict[str, Group] = field(default_factory=dict)
    attendances: dict[str, Attendance] = field(default_factory=lambda: defaultdict(Attendance))
    """Group to its receivers."""
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Role to the holder of the lease and the end of the lease."""
    fences: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Role to the number of its tenures, and the last owner."""

    def groups_of(self, group: str) -> list[Group | None]:
        """Return a group and the own groups of its receivers; None for a group that is lost."""
        attendance = self.attendances.get(group, Attendance())
        roles = [group, *(f"{group}/{receiver}" for receiver in attendance.asides)]
        # A loss may take a group, and leave what is known of its receivers.
        states = [self.groups.get(role) for role in roles]
        return [state if state is not None and state.exists else None for state in states]

    def newest(self) -> EntryId | None:
        """Return the newest entry."""
        return next(reversed(self.entries), None)

    def first_after(self, position: EntryId) -> EntryId | None:
        """Return the first entry after a position."""
        first = None
        for entry in reversed(self.entries):
            if entry <= position:
                break
            first = entry
        return first

    def holds(self, head: StreamHead) -> bool:
        """Return whether the stream has the entry of `head`, with the same event and epoch."""
        if self.epoch != head.epoch or head.entry not in self.entries:
            return False
        return self.landmark(head.entry).event_id == head.event_id

    def newest_landmark(self) -> Landmark | None:
        """Return the landmark of the newest entry."""
        entry = self.newest()
        return None if entry is None else self.landmark(entry)

    def landmark(self, entry: EntryId) -> Landmark:
        """Return an entry's landmark: its first field is the event's id, the second the header."""
        values = list(self.entries[entry].values())
        header = values[1] if len(values) > 1 else b""
        return Landmark(entry, values[0].decode("latin-1"), header)

    def between(self, after: EntryId, up_to: EntryId | None, count: int) -> list[Landmark]:
        """Return the first landmarks after an entry, up to an entry or without an upper bound."""
        entries = [
            entry for entry in self.entries if entry > after and (up_to is None or entry <= up_to)
        ]
        return [self.landmark(entry) for entry in entries[:count]]

    def within(self, entries: list[EntryId], most_bytes: int) -> list[EntryId]:
        """Return the first entries, until they have `most_bytes` together."""
        size = 0
        for number, entry in enumerate(entries):
            if size >= most_bytes:
                return entries[:number]
            size += bytes_of(self.entries.get(entry, {}))
        return entries

    def append(self, wire: Wire, now: Callable[[], float]) -> EntryId:
        """Append an event under an id that is larger than every id before."""
        # As in Redis, ids rise even if the clock goes back.
        by_clock = EntryId(int(now() * 1000), 0)
        self.last = max(by_clock, self.last.next)
        # The order of fields matters: a landmark is read from the first two.
        fields = {b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data}
        if wire.signature:
            fields[FIELD] = wire.signature
        self.entries[self.last] = fields
        return self.last
