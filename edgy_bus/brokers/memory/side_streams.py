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
        return [] if state is None else list(state.dead.values())[:count]

    async def park(
        self,
        lease: Lease,
        row: RowKey,
        letter: DeadLetter,
        kept: Sequence[Kept] = (),
        *,
        begin: bool,
        after: EntryId,
    ) -> EntryId | None:
        group, side = self._proven(lease, kept), self._side(lease)
        parked = side.parked.get(row, [])
        last = parked[-1].id if parked else START
        if letter.kept in group.kept:
            return last  # A repeated call, whose first answer was lost.
        # The row was released between the caller's look and this step: behind nothing, the event
        # would never be handled.
        if not begin and row not in side.held:
            return None
        # Parked events were lost. They come again, and must not stand behind this later event.
        if not _ends_at(parked, after):
            raise rolled_back(lease)
        if begin:
            side.held[row] = HeldState()
        new = side.park(row, letter)
        group.kept.add(letter.kept)
        self._wrote(lease, group)
        return new

    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        newest = await self.newest_parked(partition, group, rows)
        return {row: parked.id for row, parked in newest.items()}

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        state = self._group(partition, group)
        return {} if state is None else dict(state.held)

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        state = self._group(partition, group)
        return [] if state is None else state.parked.get(row, [])[:count]

    async def newest_parked(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, Parked]:
        state = self._group(partition, group)
        parked = {} if state is None else state.parked
        return {row: parked[row][-1] for row in rows if parked.get(row)}

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        _, group = self._owned(lease)
        side = self._side(lease)
        # A late call for a row without parked events would hold that row for ever.
        if side.parked.get(row):
            side.held[row] = state
        self._wrote(lease, group)

    async def unpark(
        self, lease: Lease, row: RowKey, first: Parked, letter: DeadLetter | None = None
    ) -> bool:
        _, group = self._owned(lease)
        side = self._side(lease)
        before = side.parked.pop(row, [])
        # The id alone is not enough: after a loss, the id may belong to another event.
        finished = (first.id, first.event_id)
        after = [parked for parked in before if (parked.id, parked.event_id) != finished]
        if letter is not None and len(after) < len(before):
            side.bury(letter, self._clock)
        self._wrote(lease, group)
        if not after:
            side.held.pop(row, None)
            return False
        side.parked[row] = after
        if len(after) < len(before):
            side.held[row] = HeldState(retrying=True)
        return True

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        state = self._group(partition, group)
        if state is None or state.held.get(row) != HeldState():
            return False
        # The row stays held, even without parked events: its owner treats a hold that disappears
        # as a loss of data, and ends the hold itself.
        if skip:
            state.bury(state.parked[row].pop(0).letter, self._clock)
        state.held[row] = HeldState(retrying=True)
        return True


def _ends_at(parked: Sequence[Parked], last: EntryId) -> bool:
    """Return whether a row's last parked event is `last`, or only replayed events follow `last`."""
    behind = [event for event in parked if event.id > last]
    is_there = last == START or any(event.id == last for event in parked)
    return is_there and all(event.replayed for event in behind)
