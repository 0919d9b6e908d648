"""The list of relays on Redis: a hash of all services."""

import re
from collections.abc import Sequence

from edgy_bus.brokers.base import ListedRelay, RelayCard, RelayList
from edgy_bus.brokers.base.relays import RELAY
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import milliseconds, text_of
from edgy_bus.brokers.redis.scripts import pairs

_LINE = re.compile(rb"(\d{1,14}) (\d{1,14}) (.+)", re.DOTALL)
"""The end of the line, the time since when, the card: as `list_relay.lua` writes a relay."""


class RedisRelays(RedisCore, RelayList):
    """Keep a line for each relay, which says itself when it ends."""

    async def list_relay(self, card: RelayCard, ttl: float, age: float) -> None:
        arguments = (card.owner, milliseconds(ttl), int(age * 1000), card.packed())
        await self._scripts.call("list_relay", (self.keys.relays(),), arguments)

    async def unlist_relay(self, owner: str) -> None:
        await self._ask("HDEL", self.keys.relays(), owner)

    async def relays(self) -> Sequence[ListedRelay]:
        # Only a look: a value of another type stays where it is.
        flat, moment = await self._scripts.ask([("HGETALL", self.keys.relays()), ("TIME",)])
        now = int(moment[0]) * 1000 + int(moment[1]) // 1000
        listed: list[tuple[RelayCard, float]] = []
        for line in map(_LINE.fullmatch, pairs(flat).values()):
            # Any program may have written a line.
            card = None if line is None else RelayCard.read(line[3])
            if line is not None and card is not None and int(line[1]) > now:
                listed.append((card, int(line[2]) / 1000))
        # The lease says who leads: a relay that was killed has a line for a little longer.
        leases = [("GET", self.keys.lease(card.place, RELAY)) for card, _ in listed]
        holders = await self._scripts.ask(leases) if leases else []
        return [
            ListedRelay(card, text_of(holder or b"").partition(".")[2] == card.owner, since)
            for (card, since), holder in zip(listed, holders, strict=True)
        ]
