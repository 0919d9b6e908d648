"""Which worker of a group should hold which partition: computed alike by every worker, from the list of those alive.

Rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads: when a worker joins or leaves, few partitions move, and
none gets more than its share, rounded up.
"""

import hashlib
from collections.abc import Iterable

from edgy_bus.events import Partition


def assign(members: Iterable[str], partitions: Iterable[Partition]) -> dict[Partition, str]:
    """Partition to the member that should hold it; empty without members."""
    names = sorted(set(members))
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


def _score(name: str, partition: Partition) -> bytes:
    return hashlib.blake2b(f"{name}|{partition}".encode(), digest_size=8).digest()
