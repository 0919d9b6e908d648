"""Dead letters on Redis, for operators."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import (
    LETTER_BYTES,
    LETTERS,
    START,
    Buried,
    DeadLetter,
    DeadLetters,
    EntryId,
    LetterPage,
    RowKey,
)
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import letter_arguments, read_fields, read_letter
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.brokers.redis.scripts import Answer, Call
from edgy_bus.events import Partition


class RedisDeadLetters(RedisCore, DeadLetters):
    """Read and move dead letters, one script per step."""

    async def letters(
        self,
        partition: Partition,
        group: str,
        after: EntryId = START,
        count: int = LETTERS,
        *,
        data: bool = False,
    ) -> LetterPage:
        keys = (self.keys.dead(partition, group),)
        arguments = (str(after), count, LETTER_BYTES, int(data))
        answer = await self._scripts.call("letters", keys, arguments)
        letters = [
            Buried(EntryId.parse(entry), read_letter(read_fields(fields)), int(size))
            for entry, size, fields in answer[b"letters"]
        ]
        return LetterPage(letters, answer[b"more"] != b"0")

    async def replay(
        self, partition: Partition, group: str, row: RowKey, letters: Sequence[EntryId]
    ) -> int | None:
        keys, arguments = self._move(partition, group, row, letters)
        return _moved(await self._scripts.call("replay", keys, arguments))

    async def replay_all(
        self, partition: Partition, group: str, rows: Mapping[RowKey, Sequence[EntryId]]
    ) -> Sequence[int | None]:
        # One conversation: with many rows, the round trips are most of the cost.
        calls = [self._move(partition, group, row, letters) for row, letters in rows.items()]
        return [_moved(answer) for answer in await self._scripts.call_all("replay", calls)]

    async def edit(
        self, partition: Partition, group: str, letter: EntryId, edited: DeadLetter
    ) -> EntryId | None:
        keys = (self.keys.dead(partition, group),)
        # The whole letter, since entries of a stream cannot change.
        arguments = (str(letter), *letter_arguments(edited))
        answer = await self._scripts.call("edit", keys, arguments)
        return None if answer.refusal else EntryId.parse(answer[b"edited"])

    async def discard(self, partition: Partition, group: str, letters: Sequence[EntryId]) -> int:
        # XDEL without ids is an error.
        if not letters:
            return 0
        key = self.keys.dead(partition, group)
        return int(await self._ask("XDEL", key, *map(str, letters)))

    def _move(
        self, partition: Partition, group: str, row: RowKey, letters: Sequence[EntryId]
    ) -> Call:
        """Return the keys and the arguments of `replay`."""
        keys: tuple[Key, ...] = (
            self.keys.held(partition, group),
            self.keys.parked(partition, group, row),
            self.keys.dead(partition, group),
        )
        return keys, (str(row), *map(str, letters))


def _moved(answer: Answer) -> int | None:
    return None if answer.refusal else int(answer[b"moved"])
