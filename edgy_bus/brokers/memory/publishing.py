"""The publisher's role in memory."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import (
    PAGE,
    START,
    EntryId,
    Landmark,
    Publishing,
    StreamHead,
    StreamState,
)
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Group, Stream, bytes_of
from edgy_bus.codec import Wire
from edgy_bus.events import Partition


class MemoryPublishing(MemoryCore, Publishing):
    """Append to dictionaries by compare-and-set."""

    async def declare(self, model: str, partitions: int) -> int:
        return self._models.setdefault(model, partitions)

    async def declared(self) -> Mapping[str, int]:
        return dict(self._models)

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        stream = self._streams[partition]
        newest = stream.newest_landmark() or Landmark(START, "")
        # Without an epoch the stream is new or was lost, and `inspect` has to come first.
        if stream.epoch is None:
            return None
        if StreamHead(stream.epoch, newest.entry, newest.event_id) != head:
            return None
        return await self._append(stream, chunk)

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        stream = self._streams[partition]
        same_epoch = stream.epoch == head.epoch
        lost = same_epoch and head.entry != START and not stream.holds(head)
        # In the old epoch, a publisher that has not noticed the loss could append behind the loss.
        if stream.epoch is None or lost:
            stream.epoch = fresh_epoch
        after = head.entry if stream.epoch == head.epoch else START
        behind = stream.between(after, None, count)
        return StreamState(stream.epoch, stream.newest_landmark(), behind)

    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        stream = self._streams[partition]
        if not stream.holds(newest):
            return None
        return stream.between(after, newest.entry, count)

    async def announce(self, partition: Partition, events: Sequence[Wire], keep: int) -> int:
        stream = self._streams[partition]
        count, size = stream.size
        if count != len(stream.entries):
            size = sum(map(bytes_of, stream.entries.values()))
        size += sum(len(wire.id) + sum(map(len, wire[1:])) for wire in events)
        await self._append(stream, events)
        positions = [group.position for group in stream.groups.values() if group.exists]
        dropped = 0
        while size > keep:
            entry = next(iter(stream.entries))
            size -= bytes_of(stream.entries.pop(entry))
            dropped += any(entry > position for position in positions)
        stream.size = len(stream.entries), size
        return dropped

    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        stream = self._streams[partition]
        if not stream.holds(head):
            return None
        # A group that the stream has lost is missing here, and thereby holds trimming up. The group
        # of a receiver that is set aside counts as part of its group.
        return {
            name: min(map(_finished, stream.groups_of(name)))
            for name, group in stream.groups.items()
            if group.exists and "/" not in name
        }

    async def trim(
        self,
        partition: Partition,
        head: StreamHead,
        below: EntryId,
        progress: Mapping[str, EntryId],
    ) -> int | None:
        stream, now = self._streams[partition], await self.progress(partition, head)
        if now is None or any(now[name] < progress.get(name, START) for name in now):
            return None
        trimmed = [entry for entry in stream.entries if entry < below]
        for entry in trimmed:
            del stream.entries[entry]
        return len(trimmed)

    async def _append(self, stream: Stream, events: Sequence[Wire]) -> list[EntryId]:
        """Append events and wake the bells."""
        # Entries first: a bell that wakes must see them.
        ids = [stream.append(wire, self._clock) for wire in events]
        news = self._news.get()
        async with news:
            news.notify_all()
        return ids


def _finished(group: Group | None) -> EntryId:
    """Return the entry below which a group has finished everything; a lost group, nothing."""
    return START.next if group is None else min(group.pending, default=group.position.next)
