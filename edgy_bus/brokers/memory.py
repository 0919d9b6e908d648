"""A broker in this process: for tests and for a bus without a server. It keeps bytes, as any other broker does."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgy_bus.brokers.base import (
    PAGE,
    START,
    Backlog,
    Bell,
    Broker,
    DeadLetter,
    Entry,
    EntryId,
    Fetched,
    HeldState,
    Kept,
    Landmark,
    Lease,
    Members,
    Parked,
    Protocol,
    RowKey,
    StreamHead,
    StreamState,
)
from edgy_bus.codec import Wire
from edgy_bus.errors import LeaseLost
from edgy_bus.events import Partition
from edgy_bus.signing import FIELD

_REPORTS_KEPT = 3600.0


@dataclass
class _Group:
    position: EntryId = START
    pending: dict[EntryId, str] = field(default_factory=dict)
    """Entry to the holder that read it, in order of entries."""
    deliveries: dict[EntryId, int] = field(default_factory=dict)
    """How many holders have had a pending entry in hand, if more than one."""
    notes: dict[EntryId, bytes] = field(default_factory=dict)
    kept: set[Kept] = field(default_factory=set)
    dead: list[DeadLetter] = field(default_factory=list)
    held: dict[RowKey, HeldState] = field(default_factory=dict)
    parked: dict[RowKey, list[Parked]] = field(default_factory=dict)
    last_parked: int = 0
    exists: bool = True
    """False while the stream has lost the group, of which notes and dead letters have stayed."""


@dataclass
class _Stream:
    entries: dict[EntryId, dict[bytes, bytes]] = field(default_factory=dict)
    epoch: str | None = None
    last: EntryId = START
    groups: dict[str, _Group] = field(default_factory=dict)
    leases: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Role to (holder, when it ends)."""
    fences: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def newest(self) -> EntryId | None:
        return next(reversed(self.entries), None)

    def holds(self, head: StreamHead) -> bool:
        known = self.epoch == head.epoch and head.entry in self.entries
        return known and self.mark(head.entry).event_id == head.event_id

    def landmark(self, entry: EntryId | None) -> Landmark | None:
        return None if entry is None else self.mark(entry)

    def mark(self, entry: EntryId) -> Landmark:
        """The first field of an entry is the event's id, the second one its head."""
        first, *others = self.entries[entry].values()
        return Landmark(entry, first.decode("latin-1"), others[0] if others else b"")


class MemoryBroker(Broker):
    """Everything in dictionaries. `clock` answers seconds, and stands for the server's clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._streams: dict[Partition, _Stream] = defaultdict(_Stream)
        self._models: dict[str, int] = {}
        self._protocol = Protocol(0, 0)
        self._workers: dict[str, dict[str, tuple[float, bytes]]] = defaultdict(dict)
        self._news = asyncio.Condition()

    async def connect(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        kept = self._protocol
        self._protocol = Protocol(
            max(kept.version, protocol.version), max(kept.oldest, protocol.oldest)
        )
        return self._protocol

    async def declare(self, model: str, partitions: int) -> int:
        return self._models.setdefault(model, partitions)

    async def declared(self) -> Mapping[str, int]:
        return dict(self._models)

    # Publishing

    async def publish(
        self, partition: Partition, head: StreamHead, batch: Sequence[Wire]
    ) -> list[EntryId] | None:
        stream = self._streams[partition]
        newest = stream.landmark(stream.newest()) or Landmark(START, "")
        if stream.epoch is None or (stream.epoch, newest.entry, newest.event_id) != (
            head.epoch,
            head.entry,
            head.event_id,
        ):
            return None
        return await self._append(stream, batch)

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        stream = self._streams[partition]
        if stream.epoch is None or (
            stream.epoch == head.epoch and head.entry != START and not stream.holds(head)
        ):
            stream.epoch = fresh_epoch
        after = head.entry if stream.epoch == head.epoch else START
        behind = [stream.mark(entry) for entry in stream.entries if entry > after][:count]
        return StreamState(stream.epoch, stream.landmark(stream.newest()), behind)

    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        stream = self._streams[partition]
        if not stream.holds(newest):
            return None
        return [stream.mark(entry) for entry in stream.entries if after < entry <= newest.entry][
            :count
        ]

    async def announce(self, partition: Partition, batch: Sequence[Wire], keep: int) -> None:
        stream = self._streams[partition]
        await self._append(stream, batch)
        for entry in list(stream.entries)[: max(0, len(stream.entries) - keep)]:
            del stream.entries[entry]

    async def progress(self, partition: Partition, head: StreamHead) -> Mapping[str, EntryId]:
        if not self._streams[partition].holds(head):
            return {}
        groups = self._streams[partition].groups
        return {
            name: min(group.pending, default=group.position.next)
            for name, group in groups.items()
            if group.exists
        }

    async def trim(self, partition: Partition, head: StreamHead, below: EntryId) -> int:
        stream = self._streams[partition]
        if not stream.holds(head):
            return 0
        gone = [entry for entry in stream.entries if entry < below]
        for entry in gone:
            del stream.entries[entry]
        return len(gone)

    # Leases

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        stream = self._streams[partition]
        if role in stream.leases and stream.leases[role][1] > self._clock():
            return None
        stream.fences[role] += 1
        stream.epoch = stream.epoch or secrets.token_hex(8)
        lease = Lease(partition, role, owner, stream.fences[role], stream.epoch)
        stream.leases[role] = (lease.holder, self._clock() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        if not self._holds(lease):
            return False
        self._streams[lease.partition].leases[lease.role] = (lease.holder, self._clock() + ttl)
        return True

    async def release(self, lease: Lease) -> None:
        if self._holds(lease):
            del self._streams[lease.partition].leases[lease.role]

    # Consuming

    async def fetch(self, lease: Lease, count: int, *, inherit: bool) -> Fetched:
        stream, group = self._owned(lease)
        group.exists = True
        left = self._left(group, lease)
        if left and not inherit:
            raise self._rolled_back(lease)
        if left:
            return self._hand_over(stream, group, lease, left[:count])
        fresh = [entry for entry in stream.entries if entry > group.position][:count]
        for entry in fresh:
            group.pending[entry] = lease.holder
            group.position = entry
        return Fetched(
            [Entry(entry, dict(stream.entries[entry])) for entry in fresh], False, group.position
        )

    def _left(self, group: _Group, lease: Lease) -> list[EntryId]:
        """What former owners have not finished."""
        return [entry for entry, holder in sorted(group.pending.items()) if holder != lease.holder]

    def _hand_over(
        self, stream: _Stream, group: _Group, lease: Lease, left: Sequence[EntryId]
    ) -> Fetched:
        missing = [entry for entry in left if entry not in stream.entries]
        for entry in missing:
            del group.pending[entry]
            group.deliveries.pop(entry, None)
        kept = [entry for entry in left if entry in stream.entries]
        for entry in kept:
            group.pending[entry] = lease.holder
            group.deliveries[entry] = group.deliveries.get(entry, 1) + 1
        entries = [
            Entry(
                entry, dict(stream.entries[entry]), group.notes.get(entry), group.deliveries[entry]
            )
            for entry in kept
        ]
        return Fetched(entries, True, START, missing)

    async def settle(
        self, lease: Lease, entries: Sequence[EntryId], kept: Sequence[Kept] = ()
    ) -> None:
        _, group = self._owned(lease)
        if any(one not in group.kept and one.entry in group.pending for one in kept):
            raise self._rolled_back(lease)
        group.kept.difference_update(kept)
        for entry in entries:
            group.pending.pop(entry, None)
            group.deliveries.pop(entry, None)
            group.notes.pop(entry, None)

    async def note(
        self, lease: Lease, notes: Mapping[EntryId, bytes], kept: Sequence[Kept] = ()
    ) -> None:
        group = self._knowing(lease, kept)
        group.notes.update(notes)

    async def bury(
        self, lease: Lease, letter: DeadLetter, notes: bytes, kept: Sequence[Kept] = ()
    ) -> None:
        group = self._knowing(lease, kept)
        if letter.kept in group.kept:
            return  # the answer to the first call was lost
        group.dead.append(letter)
        group.notes[letter.entry] = notes
        group.kept.add(letter.kept)

    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        groups = self._streams[partition].groups
        return groups[group].dead[:count] if group in groups else []

    # Held rows

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
        group = self._knowing(lease, kept)
        parked = group.parked.get(row, [])
        last = parked[-1].id if parked else START
        if letter.kept in group.kept:
            return last  # the answer to the first call was lost
        if not begin and row not in group.held:
            return None
        if last != after:
            raise self._rolled_back(lease)
        if begin:
            group.held[row] = HeldState()
        group.last_parked += 1
        partition = EntryId(0, group.last_parked)
        group.parked[row] = [*parked, Parked(partition, letter)]
        group.notes[letter.entry] = notes
        group.kept.add(letter.kept)
        return partition

    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        known = self._streams[partition].groups.get(group)
        return (
            {}
            if known is None
            else {row: known.parked[row][-1].id for row in rows if known.parked.get(row)}
        )

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        known = self._streams[partition].groups.get(group)
        return {} if known is None else dict(known.held)

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        known = self._streams[partition].groups.get(group)
        return [] if known is None else known.parked.get(row, [])[:count]

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        _, group = self._owned(lease)
        if group.parked.get(row):
            group.held[row] = state

    async def unpark(self, lease: Lease, row: RowKey, first: Parked) -> bool:
        _, group = self._owned(lease)
        known = group.parked.pop(row, [])
        left = [one for one in known if (one.id, one.event_id) != (first.id, first.event_id)]
        if left:
            group.parked[row] = left
        else:
            group.held.pop(row, None)
        if left and len(left) < len(known):
            group.held[row] = HeldState(retrying=True)
        return bool(left)

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        known = self._streams[partition].groups.get(group)
        if known is None or known.held.get(row) != HeldState():
            return False
        if skip:
            known.dead.append(known.parked[row].pop(0).letter)
        known.held[row] = HeldState(retrying=True)
        return True

    def bell(self) -> "MemoryBell":
        return MemoryBell(self._streams, self._news)

    # Groups

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        self._workers[group][worker] = (self._clock() + ttl, report)
        return await self.members(group)

    async def leave(self, group: str, worker: str) -> None:
        _, report = self._workers[group].get(worker, (0.0, b""))
        self._workers[group][worker] = (self._clock(), report)

    async def members(self, group: str) -> Members:
        now = self._clock()
        known = {
            name: seen
            for name, seen in self._workers[group].items()
            if seen[0] > now - _REPORTS_KEPT
        }
        self._workers[group] = known
        return Members(
            [name for name, (until, _) in known.items() if until > now],
            {name: report for name, (_, report) in known.items() if report},
        )

    async def backlog(self, partition: Partition) -> list[Backlog]:
        stream = self._streams[partition]
        return [
            Backlog(
                name,
                len(group.pending),
                sum(entry > group.position for entry in stream.entries),
                len(group.dead),
            )
            for name, group in stream.groups.items()
            if group.exists
        ]

    async def forget(self, partition: Partition, group: str) -> None:
        known = self._streams[partition].groups.get(group)
        if known is not None:
            self._streams[partition].groups[group] = _Group(
                dead=known.dead,
                held=known.held,
                parked=known.parked,
                last_parked=known.last_parked,
                exists=False,
            )

    async def erase(self) -> None:
        self._streams.clear()
        self._models.clear()
        self._workers.clear()
        self._protocol = Protocol(0, 0)

    async def _append(self, stream: _Stream, batch: Sequence[Wire]) -> list[EntryId]:
        ids = []
        for wire in batch:
            stream.last = max(
                EntryId(int(self._clock() * 1000), 0), EntryId(stream.last.ms, stream.last.seq + 1)
            )
            fields = {b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data}
            stream.entries[stream.last] = fields | (
                {FIELD: wire.signature} if wire.signature else {}
            )
            ids.append(stream.last)
        async with self._news:
            self._news.notify_all()
        return ids

    def _holds(self, lease: Lease) -> bool:
        holder, until = self._streams[lease.partition].leases.get(lease.role, ("", 0.0))
        return holder == lease.holder and until > self._clock()

    def _knowing(self, lease: Lease, kept: Sequence[Kept]) -> _Group:
        _, group = self._owned(lease)
        if not group.kept.issuperset(kept):
            raise self._rolled_back(lease)
        return group

    def _rolled_back(self, lease: Lease) -> LeaseLost:
        return LeaseLost(
            f"{lease.partition} was rolled back while {lease.role} held it as {lease.holder}"
        )

    def _owned(self, lease: Lease) -> tuple[_Stream, _Group]:
        stream = self._streams[lease.partition]
        if not self._holds(lease) or stream.epoch != lease.epoch:
            raise LeaseLost(f"{lease.role} holds {lease.partition} no longer as {lease.holder}")
        return stream, stream.groups.setdefault(lease.role, _Group())


class MemoryBell(Bell):
    """Wakes when anything is appended anywhere, and looks."""

    def __init__(self, streams: Mapping[Partition, _Stream], news: asyncio.Condition) -> None:
        self._streams = streams
        self._news = news
        self._interrupted = False

    async def wait(self, positions: Mapping[Partition, EntryId], timeout: float) -> set[Partition]:
        found: set[Partition] = set()

        def look() -> bool:
            found.update(
                p for p, at in positions.items() if (self._streams[p].newest() or START) > at
            )
            return bool(found) or self._interrupted

        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(look)
        except TimeoutError:
            return set()
        finally:
            self._interrupted = False
        return found

    async def interrupt(self) -> None:
        self._interrupted = True
        async with self._news:
            self._news.notify_all()

    async def close(self) -> None:
        return None
