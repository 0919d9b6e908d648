"""The publisher's role on Redis Streams."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import PAGE, EntryId, Landmark, Publishing, StreamHead, StreamState
from edgy_bus.brokers.redis.client import Argument
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import head_arguments, read_landmark
from edgy_bus.brokers.redis.scripts import Answer, pairs
from edgy_bus.codec import Wire
from edgy_bus.events import Partition


class RedisPublishing(RedisCore, Publishing):
    """Append, compare and trim, one script per step."""

    async def declare(self, model: str, partitions: int) -> int:
        key = self.keys.models()
        async with self._conversations.turn():
            declared = await self._client.hget(key, model)
            if declared is None:
                # Another relay may declare at this moment: the second look returns the number of
                # the first of both, which never changes afterwards.
                await self._client.hsetnx(key, model, str(partitions))
                declared = await self._client.hget(key, model)
        return int(declared or partitions)

    async def declared(self) -> Mapping[str, int]:
        async with self._conversations.turn():
            models = await self._client.hgetall(self.keys.models())
        return {model.decode(): int(partitions) for model, partitions in models.items()}

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        arguments: list[Argument] = [*head_arguments(head)]
        for wire in chunk:
            arguments += wire
        answer = await self._scripts.call("publish", self._stream_keys(partition), arguments)
        return None if answer.refusal else _appended(answer, len(chunk))

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        arguments = (*head_arguments(head), fresh_epoch, count)
        answer = await self._scripts.call("inspect", self._stream_keys(partition), arguments)
        newest = answer[b"newest"]
        return StreamState(
            epoch=answer[b"epoch"].decode(),
            newest=read_landmark(newest) if newest else None,
            behind=[read_landmark(raw) for raw in answer[b"behind"]],
        )

    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        arguments = (*head_arguments(newest), str(after), count)
        answer = await self._scripts.call("landmarks", self._stream_keys(partition), arguments)
        if answer.refusal:
            return None
        return [read_landmark(raw) for raw in answer[b"landmarks"]]

    async def announce(self, partition: Partition, events: Sequence[Wire], keep: int) -> None:
        arguments: list[Argument] = [keep]
        for wire in events:
            arguments += wire
        await self._scripts.call("announce", (self.keys.events(partition),), arguments)

    async def progress(self, partition: Partition, head: StreamHead) -> Mapping[str, EntryId]:
        keys = self._stream_keys(partition)
        answer = await self._scripts.call("progress", keys, head_arguments(head))
        if answer.refusal:
            return {}
        # A group is unfinished at its least pending entry, and else after the last entry it read.
        unfinished, read = pairs(answer[b"unfinished"]), pairs(answer[b"read"])
        progress = {group.decode(): EntryId.parse(entry) for group, entry in unfinished.items()}
        progress |= {group.decode(): EntryId.parse(entry).next for group, entry in read.items()}
        return progress

    async def trim(self, partition: Partition, head: StreamHead, below: EntryId) -> int:
        arguments = (*head_arguments(head), str(below))
        answer = await self._scripts.call("trim", self._stream_keys(partition), arguments)
        return 0 if answer.refusal else int(answer[b"removed"])


def _appended(answer: Answer, count: int) -> list[EntryId]:
    """Return the ids of `count` appended entries: mostly a first id and the numbers after it."""
    if b"entries" in answer:
        return [EntryId.parse(entry) for entry in answer[b"entries"]]
    # The script numbers the entries of a chunk itself, without gaps, and nothing else is appended
    # meanwhile. So one id in the reply stands for all.
    first = EntryId.parse(answer[b"first"])
    return [EntryId(first.ms, seq) for seq in range(first.seq, first.seq + count)]
