"""Say how long a tenure may begin receivers."""

import asyncio

from edgy_bus.brokers.base import Lease
from edgy_bus.services import happens


class Term:
    """Share a tenure's lease, and the limits of the tenure, among the parts of the tenure.

    Attributes:
        lease: the right to the partition; the broker checks the lease in every call.
        valid_until: when the lease may have run out, by the loop's clock, counted from before the
            lease was requested. Written when a renewal succeeds, and read by everyone else.
        stopping: whether the tenure reads no more and begins no other receiver.
    """

    __slots__ = ("_stopped", "lease", "stopping", "valid_until")

    def __init__(self, lease: Lease, valid_until: float) -> None:
        self.lease = lease
        self.valid_until = valid_until
        self.stopping = False
        self._stopped = asyncio.Event()

    @property
    def group(self) -> str:
        """Return the group that the lease was given to."""
        return self.lease.role

    def stop(self) -> None:
        """Read no more and begin no other receiver; what runs may finish."""
        self.stopping = True
        self._stopped.set()

    async def pause(self, seconds: float) -> bool:
        """Sleep, but wake up when the tenure stops; return whether the tenure stops."""
        return await happens(self._stopped, seconds)

    def may_begin(self) -> bool:
        """Return whether a receiver may begin now."""
        # The clock decides, and not the timer that ends the tenure: a process that was suspended
        # wakes up with its lease over and its timers late.
        return not self.stopping and asyncio.get_running_loop().time() < self.valid_until
