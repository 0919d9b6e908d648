"""Takes and keeps the lease of the relay, so that one relay of an outbox works at a time.

Nothing rests on the lease but efficiency: a relay that works without the lease does no harm.

Every relay tells the broker who and where it is, for operators: a standby has no other trace there.
"""

import asyncio
import importlib.metadata
import os
import secrets
import socket
from functools import cache
from typing import Protocol

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Lease, RelayCard
from edgy_bus.brokers.base.relays import RELAY, place_of
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.telemetry import catalogue

_ASKS = 0.9
"""The most seconds between two requests for another relay's lease, and so, about, the longest time
until a lease that was given back has another holder. Every commit wakes all relays."""

_NEVER = float("-inf")


@cache
def _version() -> str:
    """Return the release of this library; empty where it was copied, and not installed."""
    try:
        return importlib.metadata.version("edgy_bus")
    except importlib.metadata.PackageNotFoundError:
        return ""


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
        self._told = _NEVER
        """When the broker has listed this relay, the last time."""
        self._since = 0.0
        """Since when this relay leads, or stands by."""
        self._told_lead: bool | None = None
        """Whether this relay was the leader then; None before."""
        self._is_limited = False

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
        await self._tell(now, pace)
        return self._lease is not None

    async def _acquire(self) -> None:
        outbox = self._outbox
        place = place_of(outbox.service, outbox.id)
        self._lease = await self._broker.acquire(place, RELAY, self._owner, self._ttl)
        if self._lease is not None:
            self.tenure += 1
            telemetry.emit(catalogue.RelayLeads(service=outbox.service, outbox=outbox.id))

    async def _tell(self, now: float, pace: float) -> None:
        """Tell the broker who this relay is: at each change of the leader, and once in a pace."""
        leads = self._lease is not None
        if leads is not self._told_lead:
            self._since = now
        elif now < self._told + pace:
            return
        self._told, self._told_lead = now, leads
        try:
            await self._broker.list_relay(self._card(), self._ttl, now - self._since)
        except BrokerUnavailable:
            return  # The next request for the lease meets the same trouble, and is reported.
        except BrokerError as error:
            # An operator sees less; events must not wait for that.
            if not self._is_limited:
                self._is_limited = True
                effect = f"operators do not see this relay: {error}"
                telemetry.emit(catalogue.BrokerLimited(refused="list of relays", effect=effect))

    def _card(self) -> RelayCard:
        return RelayCard(
            owner=self._owner,
            service=self._outbox.service,
            outbox=self._outbox.id,
            host=socket.gethostname(),
            process=os.getpid(),
            version=_version(),
        )

    async def hand_back(self) -> None:
        """Give the lease to the next relay. Without an answer of the broker, the lease runs out."""
        # Forgotten before the broker is asked: a relay that is stopped twice gives back once.
        lease, self._lease, self._next = self._lease, None, 0.0
        was_told, self._told_lead = self._told_lead is not None, None
        try:
            if lease is not None:
                await self._broker.release(lease)
            if was_told:
                await self._broker.unlist_relay(self._owner)
        except BrokerError:
            return
