"""Dead letters and held rows on Redis: streams beside the stream of events."""

from collections.abc import Mapping, Sequence

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
from edgy_bus.brokers.redis.client import Argument
from edgy_bus.brokers.redis.core import RedisCore, require_tenure
from edgy_bus.brokers.redis.encoding import (
    letter_arguments,
    proof_arguments,
    proofs_arguments,
    read_letter,
    tenure_arguments,
)
from edgy_bus.events import Partition


class RedisSideStreams(RedisCore, SideStreams):
    """Keep dead letters and parked events in streams of their own."""

    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        async with self._conversations.turn():
            rows = await self._client.xrange(self.keys.dead(partition, group), count=count)
        return [read_letter(fields) for _, fields in rows]

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
        keys = (*self._tenure_keys(lease), *self._row_keys(lease.partition, lease.role, row))
        arguments: list[Argument] = [*tenure_arguments(lease), str(letter.entry), notes]
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
        # An empty pipeline would still take a turn and a connection.
        if not rows:
            return {}
        async with self._conversations.turn():
            pipeline = self._client.pipeline(transaction=False)
            for row in rows:
                pipeline.xrevrange(self.keys.parked(partition, group, row), count=1)
            newest = await pipeline.execute()
        return {
            row: EntryId.parse(entries[0][0])
            for row, entries in zip(rows, newest, strict=True)
            if entries
        }

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        async with self._conversations.turn():
            rows = await self._client.hgetall(self.keys.held(partition, group))
        return {
            RowKey.parse(row.decode()): HeldState.parse(state.decode())
            for row, state in rows.items()
        }

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        async with self._conversations.turn():
            rows = await self._client.xrange(self.keys.parked(partition, group, row), count=count)
        return [Parked(EntryId.parse(entry), read_letter(fields)) for entry, fields in rows]

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        arguments = (*tenure_arguments(lease), str(row), str(state))
        answer = await self._scripts.call("hold", self._held_row_keys(lease, row), arguments)
        require_tenure(answer, lease)

    async def unpark(self, lease: Lease, row: RowKey, first: Parked) -> bool:
        arguments = (*tenure_arguments(lease), str(row), str(first.id), first.event_id)
        answer = await self._scripts.call("unpark", self._held_row_keys(lease, row), arguments)
        require_tenure(answer, lease)
        return int(answer[b"parked"]) > 0

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        keys = (*self._row_keys(partition, group, row), self.keys.dead(partition, group))
        answer = await self._scripts.call("decide", keys, (str(row), int(skip)))
        return answer.refusal is None

    def _row_keys(self, partition: Partition, group: str, row: RowKey) -> tuple[str, str]:
        """Return the held rows of a group, and the parked events of a row."""
        return self.keys.held(partition, group), self.keys.parked(partition, group, row)

    def _held_row_keys(self, lease: Lease, row: RowKey) -> tuple[str, str, str, str]:
        """Return the keys of a tenure's lease, and of a held row."""
        partition, group = lease.partition, lease.role
        return (
            self.keys.lease(partition, group),
            self.keys.epoch(partition),
            *self._row_keys(partition, group, row),
        )
