"""Takes and keeps the lease of the relay, so that one relay of an outbox works at a time.

Nothing rests on the lease but efficiency: a relay that works without the lease does no harm.
"""

import asyncio
import secrets
from typing import Protocol

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Lease
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.telemetry import catalogue

_ROLE = "relay"

_ASKS = 0.9
"""The most seconds between two requests for another relay's lease, and so, about, the longest time
until a lease that was given back has another holder. Every commit wakes all relays."""


class Outbox(Protocol):
    """What a lease is about: the tables of `id`, as far as they belong to `service`."""

    id: str
    service: str


class Leader:
    """The relay's lease. `ttl`: seconds after which the lease of a relay that crashed is free."""

    def __init__(self, broker: Broker, outbox: Outbox, ttl: float) -> None:
        self.tenure = 0
        """Counts the times that this relay has become the leader."""
        self._broker = broker
        self._outbox = outbox
        self._ttl = ttl
        self._owner = secrets.token_hex(8)
        self._lease: Lease | None = None
        self._next = 0.0

    @property
    def rest(self) -> float:
        """Return the seconds until the next request is due."""
        return max(0.0, self._next - asyncio.get_running_loop().time())

    async def step(self) -> bool:
        """Return whether this relay leads. Takes or renews the lease when that is due."""
        # Read before the broker is asked: the lease runs from the broker's answer at the latest.
        now = asyncio.get_running_loop().time()
        if now < self._next:
            return self._lease is not None
        # A lease that was not renewed in time is another relay's, or free: both are found out here.
        if self._lease is None or not await self._broker.renew(self._lease, self._ttl):
            await self._acquire()
        pace = self._ttl / 3
        self._next = now + (min(_ASKS, pace) if self._lease is None else pace)
        return self._lease is not None

    async def _acquire(self) -> None:
        outbox = self._outbox
        # By the id as well: a service may have several databases, whose relays work side by side.
        partition = Partition(_ROLE, f"{outbox.service}/{outbox.id}")
        self._lease = await self._broker.acquire(partition, _ROLE, self._owner, self._ttl)
        if self._lease is not None:
            self.tenure += 1
            telemetry.emit(catalogue.RelayLeads(service=outbox.service, outbox=outbox.id))

    async def hand_back(self) -> None:
        """Give the lease to the next relay. Without an answer of the broker, the lease runs out."""
        # Forgotten before the broker is asked: a relay that is stopped twice gives back once.
        lease, self._lease, self._next = self._lease, None, 0.0
        if lease is None:
            return
        try:
            await self._broker.release(lease)
        except BrokerError:
            return
