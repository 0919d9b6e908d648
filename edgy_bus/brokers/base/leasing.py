"""Leases: one owner at a time works on a partition in a role."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence

from edgy_bus.brokers.base.values import Lease
from edgy_bus.errors import LeaseLost
from edgy_bus.events import Partition


class Leasing(ABC):
    """Take, renew and give back leases."""

    @abstractmethod
    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        """Take the lease for `ttl` seconds. Return None if another tenure holds the lease."""

    @abstractmethod
    async def renew(self, lease: Lease, ttl: float) -> bool:
        """Extend the lease to `ttl` seconds from now. Return False if the lease is lost.

        Works on a broker that is full.
        """

    async def renew_all(
        self, leases: Sequence[Lease], ttl: float
    ) -> Sequence[bool | BaseException]:
        """Return for each lease the answer or the error of `renew`.

        Raises `BrokerUnavailable` if the outcome of all renewals is unknown.
        """
        # Side by side, so that one slow answer does not let the other leases run out.
        renewals = (self.renew(lease, ttl) for lease in leases)
        return await asyncio.gather(*renewals, return_exceptions=True)

    @abstractmethod
    async def is_held(self, partition: Partition, role: str) -> bool:
        """Return whether any tenure holds the lease now."""

    @abstractmethod
    async def release(self, lease: Lease) -> None:
        """Give the lease back. Does nothing if the lease is lost."""


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error for a lease that ran out, was taken by another owner, or lost its epoch."""
    return LeaseLost(
        f"the lease of {lease.partition} for {lease.role!r} (tenure {lease.holder}) is lost: "
        "the next owner of the partition continues"
    )


def rolled_back(lease: Lease) -> LeaseLost:
    """Return the error for a broker that no longer has data which the lease's holder wrote."""
    return LeaseLost(
        f"the broker lost recent data of {lease.partition} for {lease.role!r} (tenure "
        f"{lease.holder}), as after a failover: the next owner repeats the affected events"
    )
