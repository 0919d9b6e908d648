"""Notice groups that nobody runs: events wait for them, and their streams are not trimmed.

A group that finishes nothing may be slow, or may wait for a retry. A group that finishes nothing
and has no worker at the stream was perhaps renamed or removed, and waits for
`edgy-bus group forget`.
"""

from collections.abc import Mapping

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, EntryId
from edgy_bus.events import Partition
from edgy_bus.telemetry import catalogue

STILL = 5.0
"""Seconds without progress after which the relay asks whether the group has a worker. A worker that
was restarted has its partitions again by then."""

AGAIN = 60.0
"""Seconds until the next question about a group that has a worker, but makes no progress."""


class Absences:
    """The groups that finish nothing, and since when.

    Args:
        broker: knows whether a worker holds a stream, and whether a group is paused.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._still: dict[tuple[Partition, str], tuple[EntryId, float]] = {}
        """Where a group stands at a stream, and when to ask for its worker."""
        self._absent: dict[str, set[Partition]] = {}
        """The streams at which a group was found without a worker."""

    async def look(
        self, partition: Partition, end: EntryId, finished: Mapping[str, EntryId], now: float
    ) -> None:
        """Look at the groups of a stream.

        Args:
            partition: the stream.
            end: the position behind the newest entry.
            finished: the position of each group.
            now: the present time, in seconds.
        """
        for group, position in finished.items():
            if position >= end or self._has_moved(partition, group, position, now):
                self._note_present(partition, group)
            elif now >= self._still[partition, group][1]:
                self._still[partition, group] = position, now + AGAIN
                if await self._is_absent(partition, group):
                    self._note_absent(partition, group)

    async def _is_absent(self, partition: Partition, group: str) -> bool:
        if await self._broker.is_held(partition, group):
            return False
        # The workers of a paused group hold no stream.
        return (await self._broker.members(group)).pause is None

    def _has_moved(self, partition: Partition, group: str, position: EntryId, now: float) -> bool:
        before = self._still.get((partition, group))
        if before is not None and before[0] == position:
            return False
        self._still[partition, group] = position, now + STILL
        # Seen for the first time: nobody knows yet.
        return before is not None

    def _note_absent(self, partition: Partition, group: str) -> None:
        streams = self._absent.setdefault(group, set())
        # Once for a group, which may be missing at hundreds of streams.
        if not streams:
            telemetry.emit(catalogue.GroupAbsent(group=group, partition=str(partition)))
        streams.add(partition)

    def _note_present(self, partition: Partition, group: str) -> None:
        streams = self._absent.get(group, set())
        if partition in streams:
            streams.remove(partition)
            if not streams:
                telemetry.emit(catalogue.GroupPresent(group=group))
