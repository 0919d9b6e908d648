"""Dead letters and held rows in memory."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import (
    START,
    DeadLetter,
    EntryId,
    HeldState,
    Kept,
    Lease,
    Parked,
    RowKey,
    SideStreams,
    rolled_back,
)
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.events import Partition


class MemorySideStreams(MemoryCore, SideStreams):
    """Keep dead letters and parked events in lists."""

    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        state = self._group(partition, group)
        return [] if state is None else state.dead[:count]

    async def park(
        self,
        lease: Lease,
        row: RowKey,
        letter: DeadLetter,
        notes: bytes,
        kept: Sequence[Kept] = (),
        *,
        begin: bool,
        after: EntryId,
    ) -> EntryId | None:
        group = self._proven(lease, kept)
        parked = group.parked.get(row, [])
        last = parked[-1].id if parked else START
        if letter.kept in group.kept:
            return last  # A repeated call, whose first answer was lost.
        # The row was released between the caller's look and this step: behind nothing, the event
        # would never be handled.
        if not begin and row not in group.held:
            return None
        # Parked events were lost. They come again, and must not stand behind this later event.
        if last != after:
            raise rolled_back(lease)
        if begin:
            group.held[row] = HeldState()
        group.last_parked += 1
        new = EntryId(0, group.last_parked)
        group.parked[row] = [*parked, Parked(new, letter)]
        group.notes[letter.entry] = notes
        group.kept.add(letter.kept)
        return new

    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        state = self._group(partition, group)
        if state is None:
            return {}
        return {row: state.parked[row][-1].id for row in rows if state.parked.get(row)}

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        state = self._group(partition, group)
        return {} if state is None else dict(state.held)

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        state = self._group(partition, group)
        return [] if state is None else state.parked.get(row, [])[:count]

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        _, group = self._owned(lease)
        # A late call for a row without parked events would hold that row for ever.
        if group.parked.get(row):
            group.held[row] = state

    async def unpark(self, lease: Lease, row: RowKey, first: Parked) -> bool:
        _, group = self._owned(lease)
        before = group.parked.pop(row, [])
        # The id alone is not enough: after a loss, the id may belong to another event.
        finished = (first.id, first.event_id)
        after = [parked for parked in before if (parked.id, parked.event_id) != finished]
        if not after:
            group.held.pop(row, None)
            return False
        group.parked[row] = after
        if len(after) < len(before):
            group.held[row] = HeldState(retrying=True)
        return True

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        state = self._group(partition, group)
        if state is None or state.held.get(row) != HeldState():
            return False
        # The row stays held, even without parked events: its owner treats a hold that disappears
        # as a loss of data, and ends the hold itself.
        if skip:
            state.dead.append(state.parked[row].pop(0).letter)
        state.held[row] = HeldState(retrying=True)
        return True
