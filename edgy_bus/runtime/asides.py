"""Find receivers of this program that are set aside, and the share of this worker in them."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from edgy_bus.brokers.base import Aside, Broker
from edgy_bus.events import Partition
from edgy_bus.runtime.assignment import Post, assign
from edgy_bus.runtime.peers import Peers
from edgy_bus.runtime.subscriptions import Subscriptions

_OFTEN = 2.0
"""Seconds between two looks while receivers are set aside."""

_SELDOM = 30.0
"""Seconds between two looks otherwise. Workers are nudged when a receiver is set aside."""


class AsideWatch:
    """Look for receivers that are set aside, and assign them to workers that have them."""

    def __init__(self, broker: Broker, subscriptions: Subscriptions, peers: Peers) -> None:
        self._broker = broker
        self._group = subscriptions.group
        self._subscriptions = subscriptions
        self._peers = peers
        self._asides: Mapping[Partition, Mapping[str, Aside]] = {}
        self._next = 0.0

    def look_soon(self) -> None:
        """Look in the next round: a worker has set a receiver aside, or brought one back."""
        self._next = 0.0

    async def share(
        self, partitions: Sequence[Partition], worker: str, paused: Collection[str]
    ) -> set[Post]:
        """Return the partitions and receivers that a worker should hold; none that is paused."""
        now = asyncio.get_running_loop().time()
        if now >= self._next:
            self._asides = await self._broker.asides(partitions, self._group)
            self._next = now + (_OFTEN if self._asides else _SELDOM)
        places: dict[str, list[Partition]] = {}
        for partition, asides in self._asides.items():
            for receiver in asides.keys() & self._subscriptions.at(partition):
                # A group that is not complete yet is read by nobody.
                if asides[receiver].readable and receiver not in paused:
                    places.setdefault(receiver, []).append(partition)
        return {
            Post(partition, f"{self._group}/{receiver}")
            for receiver, where in places.items()
            for partition, owner in assign(self._peers.having(receiver), where).items()
            if owner == worker
        }

    def forget(self, post: Post) -> None:
        """Take note that a receiver has come back, or is about to."""
        _, _, receiver = post.role.partition("/")
        asides = dict(self._asides.get(post.partition, {}))
        asides.pop(receiver, None)
        self._asides = {**self._asides, post.partition: asides}
