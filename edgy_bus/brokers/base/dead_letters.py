"""The operator's role: read dead letters in pages, replay, edit and discard letters."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base.values import START, DeadLetter, EntryId, LetterPage, RowKey
from edgy_bus.events import Partition

LETTERS = 200
"""The most letters in one answer."""

LETTER_BYTES = 4_000_000
"""Bytes of letters after which an answer ends, so that a script stays short."""

# Above 1, so that a lower limit comes true while letters come.
REMOVED = 20
"""The most letters that one burial removes because of the limits of a group."""


# A replay appends nothing to a stream: a publisher would take the entry for one of another relay,
# and every other group would receive the event again.
class DeadLetters(ABC):
    """Work with the dead letters of a group. Needs no lease.

    Letters are removed by operators, and by `Consuming.bury` where a group has limits.
    """

    @abstractmethod
    async def letters(
        self,
        partition: Partition,
        group: str,
        after: EntryId = START,
        count: int = LETTERS,
        *,
        data: bool = False,
    ) -> LetterPage:
        """Return the letters after an id, oldest first, up to `count` and to `LETTER_BYTES`.

        A letter that is larger comes alone. Without `data`, the letters lack the data of their
        events, and the answer is small.
        """

    @abstractmethod
    async def replay(
        self, partition: Partition, group: str, row: RowKey, letters: Sequence[EntryId]
    ) -> int | None:
        """Move letters of a row to the end of the row's parked events, in the order given.

        The owner of the partition handles the row's parked events from its next look on; see
        `Administration.nudge`. Letters that are gone are passed over, so the call may be repeated.
        Return how many letters were moved; None if the row waits for an operator's decision, and
        nothing was moved.
        """

    async def replay_all(
        self, partition: Partition, group: str, rows: Mapping[RowKey, Sequence[EntryId]]
    ) -> Sequence[int | None]:
        """Return the answer of `replay` for each row, in the order of `rows`."""
        moves = (self.replay(partition, group, row, letters) for row, letters in rows.items())
        return await asyncio.gather(*moves)

    @abstractmethod
    async def edit(
        self, partition: Partition, group: str, letter: EntryId, edited: DeadLetter
    ) -> EntryId | None:
        """Replace a letter by an edited copy, which comes last, like a letter of this moment.

        Return the id of the copy; None if the letter is gone, and nothing was changed.
        """

    @abstractmethod
    async def discard(self, partition: Partition, group: str, letters: Sequence[EntryId]) -> int:
        """Remove letters. Return how many were removed."""
