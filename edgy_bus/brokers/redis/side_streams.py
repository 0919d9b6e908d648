"""Dead letters and held rows on Redis: streams beside the stream of events."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from edgy_bus.brokers.base import (
    DeadLetter,
    EntryId,
    HeldState,
    Kept,
    Lease,
    Parked,
    RowKey,
    SideStreams,
)
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore, require_tenure
from edgy_bus.brokers.redis.encoding import (
    letter_arguments,
    proof_arguments,
    proofs_arguments,
    read_fields,
    read_letter,
    tenure_arguments,
    text_of,
)
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.brokers.redis.scripts import pairs
from edgy_bus.events import Partition

_ROWS = 100
"""Rows of one answer: the partitions of a process may get their answers in one turn of its loop."""

_LETTERS = 50
"""Rows of one answer of which the caller keeps the events."""


class RedisSideStreams(RedisCore, SideStreams):
    """Keep dead letters and parked events in streams of their own."""

    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        key = self.keys.dead(partition, group)
        # Only a look: a value of another type stays where it is.
        (rows,) = await self._scripts.ask([("XRANGE", key, "-", "+", "COUNT", count)])
        return [read_letter(read_fields(fields)) for _, fields in rows]

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
        keys = (*self._tenure_keys(lease), *self._row_keys(lease.partition, lease.group, row))
        arguments: list[Argument] = [*tenure_arguments(lease), str(letter.entry)]
        arguments += proof_arguments(letter.kept)
        arguments += (str(row), int(begin), str(after))
        arguments += proofs_arguments(kept)
        arguments += letter_arguments(letter)
        answer = await self._scripts.call("park", keys, arguments)
        if answer.refusal == b"not_held":
            return None
        require_tenure(answer, lease)
        return EntryId.parse(answer[b"last"])

    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        newest = self._newest(partition, group, rows, _ROWS)
        return {row: EntryId.parse(entry) async for row, entry, _ in newest}

    async def _newest(
        self, partition: Partition, group: str, rows: Sequence[RowKey], at_once: int
    ) -> AsyncIterator[tuple[RowKey, bytes, list[bytes]]]:
        """Yield rows with parked events: the id and the fields of the last one."""
        for at in range(0, len(rows), at_once):
            page = rows[at : at + at_once]
            keys = [self.keys.parked(partition, group, row) for row in page]
            commands = [("XREVRANGE", key, "+", "-", "COUNT", 1) for key in keys]
            answers = await self._scripts.ask(commands, keys)
            # An answer that has arrived already is read without a turn of the event loop.
            await asyncio.sleep(0)
            for row, entries in zip(page, answers, strict=True):
                for entry, fields in entries:
                    yield row, entry, fields

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        key = self.keys.held(partition, group)
        held: dict[RowKey, HeldState] = {}
        cursor = b"0"
        while True:
            # In pages: ten thousand rows in one answer would stop the event loop, and the server.
            cursor, page = await self._ask("HSCAN", key, cursor, "COUNT", _ROWS)
            await asyncio.sleep(0)  # as above
            for row, state in pairs(page).items():
                held[RowKey.parse(text_of(row))] = HeldState.parse(text_of(state))
            if cursor == b"0":
                return held

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        key = self.keys.parked(partition, group, row)
        rows = await self._ask("XRANGE", key, "-", "+", "COUNT", count)
        return [_read_parked(entry, fields) for entry, fields in rows]

    async def newest_parked(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, Parked]:
        newest = self._newest(partition, group, rows, _LETTERS)
        return {row: _read_parked(entry, fields) async for row, entry, fields in newest}

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        arguments = (*tenure_arguments(lease), str(row), str(state))
        answer = await self._scripts.call("hold", self._held_row_keys(lease, row), arguments)
        require_tenure(answer, lease)

    async def unpark(
        self, lease: Lease, row: RowKey, first: Parked, letter: DeadLetter | None = None
    ) -> bool:
        arguments: list[Argument] = [*tenure_arguments(lease), str(row), str(first.id)]
        arguments.append(first.event_id)
        if letter is not None:
            arguments += letter_arguments(letter)
        # Without a letter, the script does not touch the dead letters.
        keys = (*self._held_row_keys(lease, row), self.keys.dead(lease.partition, lease.group))
        answer = await self._scripts.call("unpark", keys, arguments)
        require_tenure(answer, lease)
        return int(answer[b"parked"]) > 0

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        keys = (*self._row_keys(partition, group, row), self.keys.dead(partition, group))
        answer = await self._scripts.call("decide", keys, (str(row), int(skip)))
        return answer.refusal is None

    def _row_keys(self, partition: Partition, group: str, row: RowKey) -> tuple[Key, Key]:
        """Return the held rows of a group, and the parked events of a row."""
        return self.keys.held(partition, group), self.keys.parked(partition, group, row)

    def _held_row_keys(self, lease: Lease, row: RowKey) -> tuple[Key, ...]:
        """Return the keys of a tenure's lease, and of a held row."""
        return (*self._tenure_keys(lease), *self._row_keys(lease.partition, lease.group, row))


def _read_parked(entry: bytes, fields: list[bytes]) -> Parked:
    # Only letters that an operator replays have the mark; other releases ignore it.
    names = read_fields(fields)
    return Parked(EntryId.parse(entry), read_letter(names), b"replayed" in names)
