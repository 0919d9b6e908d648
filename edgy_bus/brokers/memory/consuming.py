"""The consumer's role in memory."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import (
    ANY_SIZE,
    EVERY_LETTER,
    NOBODY,
    START,
    Consuming,
    DeadLetter,
    Entry,
    EntryId,
    Fetched,
    Kept,
    Lease,
    LetterLimits,
    rolled_back,
)
from edgy_bus.brokers.memory.bell import MemoryBell
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Group, Stream


class MemoryConsuming(MemoryCore, Consuming):
    """Read and finish entries under a lease."""

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        stream, group = self._owned(lease)
        attendance = stream.attendances[lease.group]
        if lease.receiver:
            if lease.receiver not in attendance.asides or lease.receiver in attendance.moving:
                return Fetched((), False, after, ended=True)
            stream.groups[lease.role] = group
        group.come_back()
        inherited = self._inherited(group, lease)
        page = [entry for entry in inherited if entry > after][:count] if inherit else []
        if page := stream.within(page, most_bytes):
            return self._hand_over(stream, group, lease, page)
        # Only the holder of the lease reads. Other entries of former owners can only have come back
        # with an older copy of the stream.
        if inherited:
            raise rolled_back(lease)
        # A receiver that is to come back reads no further than the group of all.
        if lease.receiver in attendance.due:
            (main, *_) = stream.groups_of(lease.group)
            if main is None or group.position >= main.position:
                ended = not group.pending
                return Fetched((), False, group.position, ended=ended, more=not ended)
        fresh = [entry for entry in stream.entries if entry > group.position][:count]
        fresh = stream.within(fresh, most_bytes)
        for entry in fresh:
            group.pending[entry] = lease.holder
            group.position = entry
            group.read += 1
        entries = [Entry(entry, dict(stream.entries[entry])) for entry in fresh]
        newest = stream.newest()
        more = newest is not None and newest > group.position
        return Fetched(entries, False, group.position, more=more)

    def _inherited(self, group: Group, lease: Lease) -> list[EntryId]:
        """Return the entries that former owners left unfinished."""
        return group.inherited(lease.holder)

    def _hand_over(
        self, stream: Stream, group: Group, lease: Lease, inherited: Sequence[EntryId]
    ) -> Fetched:
        """Give inherited entries to the holder of the lease."""
        # Entries that were trimmed or lost can never be handled: finish them, and report them.
        missing = [entry for entry in inherited if entry not in stream.entries]
        for entry in missing:
            del group.pending[entry]
            group.deliveries.pop(entry, None)
        present = [entry for entry in inherited if entry in stream.entries]
        entries = []
        for entry in present:
            deliveries = group.deliveries.get(entry, 1) + 1
            group.pending[entry] = lease.holder
            group.deliveries[entry] = deliveries
            fields = dict(stream.entries[entry])
            kept = [proof.receiver for proof in group.proofs_of(entry, fields)]
            entries.append(Entry(entry, fields, group.notes.get(entry), deliveries, kept))
        return Fetched(entries, True, inherited[-1], missing)

    async def settle(
        self,
        lease: Lease,
        entries: Sequence[EntryId],
        kept: Sequence[Kept] = (),
        left_out: Mapping[str, EntryId] = NOBODY,
    ) -> None:
        stream, group = self._owned(lease)
        attendance = stream.attendances[lease.group]
        # An older copy may lack that a receiver was set aside: the entry would be in no group of
        # the receiver.
        for receiver, entry in left_out.items():
            is_aside = receiver in attendance.asides
            if not is_aside and attendance.floor(receiver, lease.epoch) < entry:
                raise rolled_back(lease)
        # A repeated call, whose first answer was lost, finds its entries settled.
        if any(proof not in group.kept and proof.entry in group.pending for proof in kept):
            raise rolled_back(lease)
        group.kept.difference_update(kept)
        for entry in entries:
            group.finish(entry)
        self._wrote(lease, group)

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        group = self._proven(lease, kept)
        for entry, note in notes.items():
            by, saved = group.numbers.get(entry, ("", 0))
            if by != lease.holder or saved <= number:
                group.notes[entry] = note
                group.numbers[entry] = (lease.holder, number)
        self._wrote(lease, group)

    async def bury(
        self,
        lease: Lease,
        letter: DeadLetter,
        kept: Sequence[Kept] = (),
        limits: LetterLimits = EVERY_LETTER,
    ) -> int:
        group, side = self._proven(lease, kept), self._side(lease)
        if letter.kept in group.kept:
            return 0  # A repeated call, whose first answer was lost.
        removed = side.remove_letters(limits, self._clock())
        side.bury(letter, self._clock)
        group.kept.add(letter.kept)
        self._wrote(lease, group)
        return removed

    def bell(self) -> MemoryBell:
        return MemoryBell(self._streams, self._news.get())
