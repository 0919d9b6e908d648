"""The state of streams in memory."""

from collections.abc import Sequence

from edgy_bus.brokers.base import BrokerFacts, GroupSurvey, StreamSurvey, Surveying
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Group, Stream, bytes_of
from edgy_bus.events import Partition


class MemorySurveying(MemoryCore, Surveying):
    """Count what dictionaries contain."""

    async def survey(self, partitions: Sequence[Partition]) -> Sequence[StreamSurvey]:
        return [self._stream(partition) for partition in partitions]

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
        )
