"""Assign partitions to the workers of a group: the same result in every worker.

Rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads. When a worker joins or leaves,
few partitions move, and no worker gets more than its share, rounded up.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgy_bus.events import Partition


class Post(NamedTuple):
    """Name what a tenure holds: a partition, in the role of a group or of a receiver's own group.

    The own group of a receiver that is set aside is `GROUP/RECEIVER`.
    """

    partition: Partition
    role: str


def assign(members: Iterable[str], partitions: Iterable[Partition]) -> dict[Partition, str]:
    """Map each partition to the member that should hold it; empty without members."""
    names = sorted(set(members))
    # Shuffled by hash, the same way in every worker: the last partitions get the members that
    # still have room, and in the order of names these would always be the same few models.
    partitions = sorted(set(partitions), key=lambda partition: _score("", partition))
    if not names:
        return {}
    share = -(-len(partitions) // len(names))
    load = dict.fromkeys(names, 0)
    chosen: dict[Partition, str] = {}
    for partition in partitions:
        free = (name for name in names if load[name] < share)
        winner = max(free, key=lambda name: _score(name, partition))
        chosen[partition] = winner
        load[winner] += 1
    return chosen


class Shares:
    """Remember the last assignment: with a hundred workers it takes long, and it seldom changes."""

    def __init__(self) -> None:
        self._asked: tuple[tuple[str, ...], tuple[Partition, ...]] = ((), ())
        self._owners: Mapping[Partition, str] = {}

    def owners(
        self, members: Iterable[str], partitions: Iterable[Partition]
    ) -> Mapping[Partition, str]:
        """Return what `assign` returns."""
        asked = (tuple(sorted(members)), tuple(partitions))
        if asked != self._asked:
            self._asked, self._owners = asked, assign(*asked)
        return self._owners


def _score(name: str, partition: Partition) -> bytes:
    return hashlib.blake2b(f"{name}|{partition}".encode(), digest_size=8).digest()
