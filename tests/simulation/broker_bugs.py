"""Planted bugs of the broker: each class lacks one mechanism. `bugs.BUGS` names them."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgy_bus.brokers.base import (
    ANY_SIZE,
    PAGE,
    START,
    DeadLetter,
    EntryId,
    Fetched,
    HeldState,
    Lease,
    Parked,
    RowKey,
    StreamHead,
    StreamState,
)
from edgy_bus.brokers.memory.state import Group, Stream, bytes_of
from edgy_bus.codec import Wire
from edgy_bus.events import Partition
from tests.simulation.broker import Redis


class PublishComparesNothing(Redis):
    """Append wherever the stream stands."""

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        stream = self._streams[partition]
        return None if stream.epoch is None else await self._append(stream, chunk)


class Careless(Redis):
    """Read new entries without a look at the entries of former owners.

    That check would hide the bugs of the subclasses.
    """

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        self._inherits = inherit
        return await super().fetch(lease, count, inherit=inherit, after=after)

    def _inherited(self, group: Group, lease: Lease) -> list[EntryId]:
        return super()._inherited(group, lease) if self._inherits else []


class FetchWithoutLease(Careless):
    """Check no lease."""

    def _owned(self, lease: Lease) -> tuple[Stream, Group]:
        stream = self._streams[lease.partition]
        return stream, stream.groups.setdefault(lease.role, Group())


class NothingInherited(Careless):
    """Leave the entries of former owners unread."""

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        return await super().fetch(lease, count, inherit=False)


class NewBeforeInherited(Careless):
    """Read new entries before the entries of former owners."""

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        fresh = await super().fetch(lease, count, inherit=False)
        if fresh.entries or not inherit:
            return Fetched(fresh.entries, inherit, START)
        return await super().fetch(lease, count, inherit=True)


class GroupsBeginAtTheEnd(Redis):
    """Start a new group behind the newest entry."""

    def _owned(self, lease: Lease) -> tuple[Stream, Group]:
        new = lease.role not in self._streams[lease.partition].groups
        stream, group = super()._owned(lease)
        if new:
            group.position = stream.newest() or START
        return stream, group


class UnfinishedForgotten(Redis):
    """Report entries as finished that were only read."""

    async def progress(self, partition: Partition, head: StreamHead) -> Mapping[str, EntryId]:
        return {name: group.position for name, group in self._streams[partition].groups.items()}


class NumbersNoWrites(Redis):
    """Let a tenure go on after an older copy of the data has come back."""

    def _wrote(self, lease: Lease, group: Group) -> None:
        """Confirm nothing, so that nothing is missing later."""


class ParkedEventsDropped(Redis):
    """Answer as if the event were parked."""

    async def park(self, lease: Lease, *rest: Any, begin: bool, after: EntryId) -> EntryId | None:
        self._owned(lease)
        return after


class SkippedEventsDropped(Redis):
    """Remove a skipped event without a dead letter."""

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        state = self._group(partition, group)
        if skip and state is not None and state.held.get(row) == HeldState():
            state.parked[row].pop(0)
            if not state.parked[row]:
                del state.parked[row], state.held[row]
                return True
        return await super().decide(partition, group, row, skip=False)


class NewestParkedFirst(Redis):
    """Return parked events in reverse order."""

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        return (await super().parked(partition, group, row, 1_000))[::-1][:count]


class ParksBehindNothing(Redis):
    """Park an event though its row is no longer held."""

    async def park(
        self, lease: Lease, row: RowKey, letter: DeadLetter, *rest: Any, begin: bool, after: EntryId
    ) -> EntryId | None:
        _, group = self._owned(lease)
        if row not in group.held:
            group.parked.setdefault(row, [])
            group.last_parked += 1
            group.parked[row].append(Parked(EntryId(0, group.last_parked), letter))
            if begin:
                group.held[row] = HeldState()
            return group.parked[row][-1].id
        return await super().park(lease, row, letter, *rest, begin=begin, after=after)


class LossNotNoticed(Redis):
    """Take any stream of the epoch for the stream that the publisher knows."""

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        stream = self._streams[partition]
        if stream.epoch != head.epoch:
            return await super().inspect(partition, head, fresh_epoch, count)
        behind = [stream.landmark(entry) for entry in stream.entries if entry > head.entry]
        return StreamState(stream.epoch, stream.newest_landmark(), behind)


class NotesNeedRoom(Redis):
    """Refuse notes on a full server: nobody can count an attempt at an inherited event."""

    growing = (*Redis.growing, "note")


class LeasesNeedRoom(Redis):
    """Refuse leases on a full server."""

    growing = (*Redis.growing, "acquire")


class LargeEntriesLeftUnread(Redis):
    """Read no entry that is larger than a read may be."""

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        for stream in self._streams.values():
            for entry, fields in stream.entries.items():
                group = stream.groups.get(lease.role, Group())
                if entry > group.position and bytes_of(fields) > most_bytes:
                    return Fetched([], False, group.position)
        return await super().fetch(
            lease, count, inherit=inherit, after=after, most_bytes=most_bytes
        )
