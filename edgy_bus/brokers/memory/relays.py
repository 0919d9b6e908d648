"""The list of relays in memory."""

from collections.abc import Sequence

from edgy_bus.brokers.base import ListedRelay, RelayCard, RelayList
from edgy_bus.brokers.base.relays import RELAY
from edgy_bus.brokers.memory.core import MemoryCore


class MemoryRelays(MemoryCore, RelayList):
    """Keep the cards of relays in a dictionary."""

    async def list_relay(self, card: RelayCard, ttl: float, age: float) -> None:
        now = self._clock()
        self._relays[card.owner] = (now + ttl, now - age, card)

    async def unlist_relay(self, owner: str) -> None:
        self._relays.pop(owner, None)

    async def relays(self) -> Sequence[ListedRelay]:
        now = self._clock()
        return [
            ListedRelay(card, self._leads(card), since)
            for until, since, card in self._relays.values()
            if until > now
        ]

    def _leads(self, card: RelayCard) -> bool:
        holder, until = self._streams[card.place].leases.get(RELAY, ("", 0.0))
        return until > self._clock() and holder.partition(".")[2] == card.owner
