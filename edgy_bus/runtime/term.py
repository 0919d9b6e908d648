"""Say how long a tenure may begin receivers."""

import asyncio

from edgy_bus.brokers.base import Lease
from edgy_bus.services import happens, interruptible

_MARGIN = 0.05
"""The share of a lease by which a tenure ends before the lease. At the very end, another worker may
already have the lease; and the clocks of the keeper, the loop and the broker differ a little."""

_REFUSED = float("-inf")


def end_of(requested: float, lease: float) -> float:
    """Return until when a lease can be relied on.

    Args:
        requested: when the lease was requested. The time of the answer would be too late: the
            broker counts from the arrival of the request.
        lease: seconds that the lease lasts.
    """
    return requested + lease * (1 - _MARGIN)


class Term:
    """Share a tenure's lease, and the limits of the tenure, among the parts of the tenure.

    Attributes:
        lease: the right to the partition; the broker checks the lease in every call.
        valid_until: when the lease may have run out, by the loop's clock. Written by the keeper,
            in its own thread, and read by everyone else.
        stopping: whether the tenure reads no more and begins no other receiver.
        begins: whether receivers may begin, as far as that does not depend on the time. False for
            good when the tenure is stopping, and for a while when it offers the partition.
    """

    __slots__ = ("_stopped", "begins", "lease", "stopping", "valid_until")

    def __init__(self, lease: Lease, valid_until: float) -> None:
        self.lease = lease
        self.valid_until = valid_until
        self.stopping = False
        self.begins = True
        self._stopped = asyncio.Event()

    @property
    def group(self) -> str:
        """Return the group whose receivers run."""
        return self.lease.group

    def extend(self, requested: float, lease: float) -> None:
        """Record that the lease was renewed. Only the keeper calls this, and `refuse`.

        Args:
            requested: when the renewal was requested.
            lease: seconds that the lease lasts from then on.
        """
        # A renewal that was requested before may be answered later. A lease that was refused does
        # not come back, or another tenure would work at the same time.
        if self.valid_until != _REFUSED:
            self.valid_until = max(self.valid_until, end_of(requested, lease))

    def refuse(self) -> None:
        """Record that the lease is lost."""
        self.valid_until = _REFUSED

    def stop(self) -> None:
        """Read no more and begin no other receiver; what runs may finish."""
        self.stopping = True
        self.begins = False
        self._stopped.set()

    def let_begin(self, begins: bool) -> None:
        """Let receivers begin, or let none begin for a while."""
        self.begins = begins and not self.stopping

    async def pause(self, seconds: float) -> bool:
        """Sleep, but wake up when the tenure stops; return whether the tenure stops."""
        return await happens(self._stopped, seconds)

    async def until(self, turn: asyncio.Future[None]) -> bool:
        """Wait for a future; False, and the future is cancelled, if the tenure stops before."""
        return await interruptible(turn, self._stopped)

    def may_begin(self) -> bool:
        """Return whether a receiver may begin now."""
        # The clock decides, and not the timer that ends the tenure: a process that was suspended
        # wakes up with its lease over and its timers late.
        return self.begins and asyncio.get_running_loop().time() < self.valid_until
