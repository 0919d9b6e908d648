"""The publisher's role on Redis Streams."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import PAGE, EntryId, Landmark, Publishing, StreamHead, StreamState
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import head_arguments, read_landmark, text_of
from edgy_bus.brokers.redis.scripts import Answer, pairs
from edgy_bus.codec import Wire
from edgy_bus.events import Partition

_MOST_PARTITIONS = 99_999
"""The most partitions that a model may have, at any release. `declare` and `declared` agree: a
number that one of them takes for a field of another program, the other must not keep."""


class RedisPublishing(RedisCore, Publishing):
    """Append, compare and trim, one script per step."""

    async def declare(self, model: str, partitions: int) -> int:
        arguments = (model, partitions, _MOST_PARTITIONS)
        answer = await self._scripts.call("declare", (self.keys.models(),), arguments)
        return int(answer[b"partitions"])

    async def declared(self) -> Mapping[str, int]:
        models = pairs(await self._ask("HGETALL", self.keys.models()))
        # Another field was written by another program; the relay of its model declares it anew.
        return {
            text_of(model): int(partitions)
            for model, partitions in models.items()
            if _is_number(partitions)
        }

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

    async def announce(self, partition: Partition, events: Sequence[Wire], keep: int) -> int:
        arguments: list[Argument] = [keep]
        for wire in events:
            arguments += wire
        keys = (self.keys.events(partition), self.keys.size(partition))
        answer = await self._scripts.call("announce", keys, arguments)
        return int(answer[b"dropped"])

    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        keys = self._stream_keys(partition)
        arguments = (*head_arguments(head), self.keys.tag(partition))
        return _progress(await self._scripts.call("progress", keys, arguments))

    async def progress_of_all(
        self, heads: Mapping[Partition, StreamHead]
    ) -> Sequence[Mapping[str, EntryId] | None]:
        # One conversation: with hundreds of streams, the round trips are most of the cost.
        calls = [
            (
                self._stream_keys(partition),
                (*head_arguments(head), self.keys.tag(partition)),
            )
            for partition, head in heads.items()
        ]
        return [_progress(answer) for answer in await self._scripts.call_all("progress", calls)]

    async def trim(
        self,
        partition: Partition,
        head: StreamHead,
        below: EntryId,
        progress: Mapping[str, EntryId],
    ) -> int | None:
        arguments: list[Argument] = [*head_arguments(head), self.keys.tag(partition), str(below)]
        for group, finished in progress.items():
            arguments += [group, str(finished)]
        answer = await self._scripts.call("progress", self._stream_keys(partition), arguments)
        return None if answer.refusal else int(answer[b"removed"])


def _is_number(text: bytes) -> bool:
    """Return whether a field is a number of partitions, as `declare.lua` reads numbers."""
    # The length first: Python refuses to read a number of thousands of digits.
    most = len(str(_MOST_PARTITIONS))
    if not text.isdigit() or text.startswith(b"0") or len(text) > most:
        return False
    return int(text) <= _MOST_PARTITIONS


def _progress(answer: Answer) -> Mapping[str, EntryId] | None:
    if answer.refusal:
        return None
    # A group is unfinished at its least pending entry, and else after the last entry it read.
    unfinished, read = pairs(answer[b"unfinished"]), pairs(answer[b"read"])
    progress = {group.decode(): EntryId.parse(entry) for group, entry in unfinished.items()}
    progress |= {group.decode(): EntryId.parse(entry).next for group, entry in read.items()}
    return progress


def _appended(answer: Answer, count: int) -> list[EntryId]:
    """Return the ids of `count` appended entries: mostly a first id and the numbers after it."""
    if b"entries" in answer:
        return [EntryId.parse(entry) for entry in answer[b"entries"]]
    # The script numbers the entries of a chunk itself, without gaps, and nothing else is appended
    # meanwhile. So one id in the reply stands for all.
    first = EntryId.parse(answer[b"first"])
    return [EntryId(first.ms, seq) for seq in range(first.seq, first.seq + count)]
