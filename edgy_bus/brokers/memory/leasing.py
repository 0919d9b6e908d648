"""Leases in memory."""

import secrets

from edgy_bus.brokers.base import Lease, Leasing
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.events import Partition


class MemoryLeasing(MemoryCore, Leasing):
    """Keep the holder and the end of every lease."""

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        stream = self._streams[partition]
        _, until = stream.leases.get(role, ("", 0.0))
        if until > self._clock():
            return None
        # The fence is never reset: a former holder that wakes up always has a lower token.
        tenures, former = stream.fences.get(role, (0, ""))
        stream.fences[role] = (tenures + 1, owner)
        stream.epoch = stream.epoch or secrets.token_hex(8)
        lease = Lease(partition, role, owner, tenures + 1, stream.epoch, former)
        stream.leases[role] = (lease.holder, self._clock() + ttl)
        return lease

    async def renew(self, lease: Lease, ttl: float) -> bool:
        if not self._holds(lease):
            return False
        until = self._clock() + ttl
        self._streams[lease.partition].leases[lease.role] = (lease.holder, until)
        return True

    async def is_held(self, partition: Partition, role: str) -> bool:
        _, until = self._streams[partition].leases.get(role, ("", 0.0))
        return until > self._clock()

    async def release(self, lease: Lease) -> None:
        if self._holds(lease):
            del self._streams[lease.partition].leases[lease.role]
