"""Know the other live workers of a group: their protocol, and the receivers that they have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.codec import loads
from edgy_bus.errors import EventError

_ADDRESSES = 2
"""The first protocol whose workers know events that are addressed to a receiver."""

_SETS_ASIDE = 3
"""The first protocol whose workers know receivers that are set aside."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Describe a worker by its report."""

    protocol: int
    receivers: frozenset[str]

    @property
    def knows_addresses(self) -> bool:
        """Return whether the worker's release knows events that are addressed to a receiver."""
        return self.protocol >= _ADDRESSES

    @property
    def knows_receivers_aside(self) -> bool:
        """Return whether the worker's release knows receivers that are set aside."""
        return self.protocol >= _SETS_ASIDE


class Peers:
    """Keep what the live workers of a group have reported. A worker's receivers never change."""

    def __init__(self, broker: Broker, group: str) -> None:
        self._broker = broker
        self._group = group
        self._peers: Mapping[str, Peer | None] = {}

    async def update(self, alive: Iterable[str]) -> None:
        """Read the reports of workers that were not there before."""
        names = set(alive)
        known = {name: peer for name, peer in self._peers.items() if name in names and peer}
        if names - known.keys():
            reports = await self._broker.reports(self._group, sorted(names - known.keys()))
            for name in names - known.keys():
                peer = read_peer(reports.get(name, b""))
                if peer is not None:
                    known[name] = peer
        self._peers = {name: known.get(name) for name in names}

    @property
    def know_receivers_aside(self) -> bool:
        """Return whether every live worker knows receivers that are set aside."""
        # A worker without a report may be of any release.
        return all(peer and peer.knows_receivers_aside for peer in self._peers.values())

    def having(self, receiver: str) -> list[str]:
        """Return the live workers that have a receiver."""
        having = (name for name, peer in self._peers.items() if peer and receiver in peer.receivers)
        return sorted(having)


def read_peer(report: bytes) -> Peer | None:
    """Return the worker of a report; None for a report of another program, or without one."""
    try:
        values = loads(report)
        return Peer(int(values["protocol"]), frozenset(values.get("receivers", ())))
    except (EventError, AttributeError, LookupError, TypeError, ValueError):
        return None
