"""What keeps entries in their streams: groups and receivers that do not finish them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgy_bus.operations.overview import GroupStatus


@dataclass(frozen=True, slots=True)
class TrimmingObstacle:
    """A group, or a receiver of it, because of which streams keep entries.

    Attributes:
        group: the group.
        receiver: the receiver that is set aside; empty for the group as a whole.
        why: what it lacks, in words.
        lag: the entries that it has not finished, as far as the broker counts them.
        seconds: the age of the oldest of these entries.
        streams: the streams that it has read, or from which it is set aside.
        size: bytes of the streams from which a receiver is set aside; None for a group.
    """

    group: str
    receiver: str
    why: str
    lag: int
    seconds: float
    streams: int
    size: int | None


def trimming_obstacles(groups: Iterable[GroupStatus]) -> tuple[TrimmingObstacle, ...]:
    """Return what keeps entries in their streams until an operator acts, the oldest first.

    A group that works finishes its entries, and is no obstacle, however far it is behind.
    """
    obstacles = (each for group in groups for each in _of_group(group))
    return tuple(sorted(obstacles, key=lambda each: (-each.seconds, each.group, each.receiver)))


def _of_group(group: GroupStatus) -> Iterator[TrimmingObstacle]:
    # One reason of each group, the first that an operator would have to mend.
    why = ""
    if group.deserted:
        why = "no worker is alive"
    elif group.pause is not None and group.lag:
        why = "the group is paused"
    elif group.unowned:
        why = f"{group.unowned} of its streams have no owner"
    if why:
        yield TrimmingObstacle(group.name, "", why, group.lag, group.seconds, group.streams, None)
    for receiver, aside in group.aside.items():
        # A receiver that has caught up comes back soon.
        if aside.lag:
            cause = "paused" if receiver in group.paused else "set aside"
            if receiver in group.tripped:
                cause = "set aside, its breaker is open"
            yield TrimmingObstacle(
                group.name, receiver, cause, aside.lag, aside.seconds, aside.streams, aside.size
            )
