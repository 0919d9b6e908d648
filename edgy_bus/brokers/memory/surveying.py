"""The state of streams in memory."""

from collections.abc import Iterator, Sequence
from itertools import islice

from edgy_bus.brokers.base import (
    SEARCH,
    SEARCH_BYTES,
    BrokerFacts,
    EntryId,
    EntrySurvey,
    GroupAtEntry,
    GroupSurvey,
    SearchPage,
    StreamSurvey,
    Surveying,
)
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Group, Stream, bytes_of
from edgy_bus.events import Partition


class MemorySurveying(MemoryCore, Surveying):
    """Count what dictionaries contain."""

    async def survey(self, partitions: Sequence[Partition]) -> Sequence[StreamSurvey]:
        return [self._stream(partition) for partition in partitions]

    async def survey_entry(
        self, partition: Partition, entry: EntryId, *, data: bool = False
    ) -> EntrySurvey:
        stream = self._streams[partition]
        fields = {
            name: value
            for name, value in stream.entries.get(entry, {}).items()
            if data or name != b"data"
        }
        groups = [
            GroupAtEntry(
                group=name,
                position=group.position,
                reader=group.pending.get(entry, ""),
                # An entry that a single tenure had is not in the dictionary.
                deliveries=group.deliveries.get(entry, 1) if entry in group.pending else 0,
                notes=group.notes.get(entry),
            )
            for name, group in stream.groups.items()
            if group.exists
        ]
        return EntrySurvey(fields, groups)

    async def search(
        self,
        partition: Partition,
        text: bytes,
        start: EntryId | None = None,
        count: int = SEARCH,
        *,
        backwards: bool = False,
    ) -> SearchPage:
        stream = self._streams[partition]
        # As the script of Redis counts: a page ends once its entries have so many bytes.
        looked_at = stream.within(
            list(islice(_behind(stream, start, backwards=backwards), count)), SEARCH_BYTES
        )
        landmarks = [stream.landmark(entry) for entry in looked_at]
        matching = [landmark for landmark in landmarks if text in landmark.header]
        return SearchPage(matching, looked_at[-1] if looked_at else None, len(looked_at))

    async def facts(self) -> BrokerFacts:
        return BrokerFacts(self._clock(), {"redis_version": "7.0.0"})

    def _stream(self, partition: Partition) -> StreamSurvey:
        stream = self._streams[partition]
        groups = [
            self._group_survey(stream, name, group)
            for name, group in stream.groups.items()
            if group.exists
        ]
        # The bytes of the values, where a server counts its memory.
        size = sum(map(bytes_of, stream.entries.values()))
        now = int(self._clock() * 1000)
        return StreamSurvey(
            partition,
            now,
            len(stream.entries),
            size,
            [each for each in groups if "/" not in each.group],
            [each for each in groups if "/" in each.group],
        )

    def _group_survey(self, stream: Stream, name: str, group: Group) -> GroupSurvey:
        unread = [entry for entry in stream.entries if entry > group.position]
        holder, until = stream.leases.get(name, ("", 0.0))
        return GroupSurvey(
            group=name,
            unfinished=len(group.pending),
            unread=len(unread),
            oldest=min(group.pending, default=None) or next(iter(unread), None),
            dead=len(group.dead),
            held=len(group.held),
            # A lease that ran out stays in the dictionary until the next tenure takes it.
            holder=holder if until > self._clock() else "",
            read=group.read,
            removed=group.removed,
        )


def _behind(stream: Stream, start: EntryId | None, *, backwards: bool) -> Iterator[EntryId]:
    """Yield the entries behind an entry, in the direction of a search."""
    for entry in reversed(stream.entries) if backwards else stream.entries:
        if start is None or (entry < start if backwards else entry > start):
            yield entry
