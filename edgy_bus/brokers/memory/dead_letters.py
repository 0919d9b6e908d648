"""Dead letters in memory, for operators."""

from collections.abc import Sequence

from edgy_bus.brokers.base import (
    LETTERS,
    START,
    Buried,
    DeadLetter,
    DeadLetters,
    EntryId,
    HeldState,
    LetterPage,
    RowKey,
)
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import bytes_of
from edgy_bus.events import Partition


class MemoryDeadLetters(MemoryCore, DeadLetters):
    """Read and move dead letters of dictionaries."""

    async def letters(
        self,
        partition: Partition,
        group: str,
        after: EntryId = START,
        count: int = LETTERS,
        *,
        data: bool = False,
    ) -> LetterPage:
        dead = self._dead(partition, group)
        following = [entry for entry in dead if entry > after]
        letters = [_buried(entry, dead[entry], data=data) for entry in following[:count]]
        return LetterPage(letters, len(following) > count)

    async def replay(
        self, partition: Partition, group: str, row: RowKey, letters: Sequence[EntryId]
    ) -> int | None:
        state = self._group(partition, group)
        if state is None:
            return 0
        # An operator has not decided yet: a replay must not decide in passing.
        held = state.held.get(row)
        if held is not None and not held.retrying:
            return None
        present = [entry for entry in letters if entry in state.dead]
        for entry in present:
            state.park(row, state.dead.pop(entry), replayed=True)
        # A row without parked events must not be held: nobody would end the hold.
        if present and held is None:
            state.held[row] = HeldState(retrying=True)
        return len(present)

    async def edit(
        self, partition: Partition, group: str, letter: EntryId, edited: DeadLetter
    ) -> EntryId | None:
        state = self._group(partition, group)
        # Ids rise: a letter that changes in place would be passed over by a page that is read.
        if state is None or state.dead.pop(letter, None) is None:
            return None
        state.bury(edited, self._clock)
        return state.last_dead

    async def discard(self, partition: Partition, group: str, letters: Sequence[EntryId]) -> int:
        dead = self._dead(partition, group)
        removed = [dead.pop(entry) for entry in letters if entry in dead]
        return len(removed)

    def _dead(self, partition: Partition, group: str) -> dict[EntryId, DeadLetter]:
        state = self._group(partition, group)
        return {} if state is None else state.dead


def _buried(entry: EntryId, letter: DeadLetter, *, data: bool) -> Buried:
    size = bytes_of(letter.fields)
    if data:
        return Buried(entry, letter, size)
    fields = {name: value for name, value in letter.fields.items() if name != b"data"}
    short = DeadLetter(letter.entry, letter.receiver, letter.reason, letter.attempts, fields)
    return Buried(entry, short, size)
