"""The state that all roles of the memory broker share, and the check of a lease."""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from edgy_bus.brokers.base import (
    ACTIONS,
    ActionEntry,
    Kept,
    Lease,
    Listed,
    Pause,
    Protocol,
    RelayCard,
    Tally,
    lease_lost,
    rolled_back,
)
from edgy_bus.brokers.memory.state import Group, Stream
from edgy_bus.events import Partition
from edgy_bus.services import PerLoop


class MemoryCore:
    """Hold streams, models and workers. `clock` returns seconds, and plays the server's clock."""

    # Invariant: every step compares and changes the state without an `await` in between. In
    # asyncio that makes a step atomic, as a script makes a step atomic in Redis.

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._streams: dict[Partition, Stream] = defaultdict(Stream)
        self._models: dict[str, int] = {}
        self._protocol = Protocol(0, 0)
        self._workers: dict[str, dict[str, tuple[float, bytes]]] = defaultdict(dict)
        """Group to worker to the time until which the worker is alive, and its report."""
        self._nudges: dict[str, int] = defaultdict(int)
        self._pauses: dict[str, dict[str, Pause]] = defaultdict(dict)
        self._trips: dict[str, dict[str, tuple[float, float, int, str]]] = defaultdict(dict)
        """Group and receiver to the end of a trip, its first beginning, step and reason."""
        self._rosters: dict[str, dict[str, Listed]] = defaultdict(dict)
        """Group to receiver to its line in the roster."""
        self._names: dict[str, dict[str, str]] = defaultdict(dict)
        """Group to other name of a receiver to its name in the roster."""
        self._roster_versions: dict[str, str] = defaultdict(str)
        self._actions: deque[tuple[float, ActionEntry]] = deque(maxlen=ACTIONS)
        self._relays: dict[str, tuple[float, float, RelayCard]] = {}
        """Relay to the end of its line, the time since when it leads or stands by, and its card."""
        self._tallies: dict[str, dict[int, Tally]] = defaultdict(dict)
        """Group to minute since 1970 to its tally."""
        self._versions: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._news = PerLoop(asyncio.Condition)

    def _holds(self, lease: Lease) -> bool:
        """Return whether the lease has neither run out nor passed to another tenure."""
        holder, until = self._streams[lease.partition].leases.get(lease.role, ("", 0.0))
        return holder == lease.holder and until > self._clock()

    def _owned(self, lease: Lease) -> tuple[Stream, Group]:
        """Return the stream and the group of a lease. Raises `LeaseLost`."""
        stream = self._streams[lease.partition]
        # The lease ends with the epoch: in a new epoch, an id may belong to another event.
        if not self._holds(lease) or stream.epoch != lease.epoch:
            raise lease_lost(lease)
        # The own group of a receiver is made when the receiver is set aside, and never by a late
        # call: it would keep the stream.
        group = stream.groups.get(lease.role)
        if group is None:
            group = Group()
            if not lease.receiver:
                stream.groups[lease.role] = group
        if group.writes < lease.confirmed.write:
            raise rolled_back(lease)
        return stream, group

    def _wrote(self, lease: Lease, group: Group) -> None:
        """Number a write of a tenure, and confirm the write."""
        group.writes += 1
        lease.confirmed.learn(group.writes)

    def _proven(self, lease: Lease, kept: Sequence[Kept]) -> Group:
        """Return the group of a lease that has every proof of `kept`. Raises `LeaseLost`."""
        _, group = self._owned(lease)
        if not group.kept.issuperset(kept):
            raise rolled_back(lease)
        return group

    def _side(self, lease: Lease) -> Group:
        """Return the group that keeps the dead letters and held rows of a lease's receivers."""
        return self._streams[lease.partition].groups.setdefault(lease.group, Group())

    def _group(self, partition: Partition, group: str) -> Group | None:
        """Return a group of a stream."""
        return self._streams[partition].groups.get(group)
