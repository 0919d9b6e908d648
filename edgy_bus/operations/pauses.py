"""Pauses: the workers of a group begin no call until an operator resumes the group."""

from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.operations.groups import require_group

LONGEST_NOTE = 200
"""Characters of a note, which every worker reads in every round."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A group whose workers begin no call."""

    group: str
    until: float | None
    """Seconds since 1970 by the broker's clock; None: until the group is resumed."""
    note: str
    workers: int
    """Workers that were alive when the group was paused."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A group whose workers begin calls again."""

    group: str
    was_paused: bool


async def pause(broker: Broker, group: str, *, seconds: float | None, note: str) -> Paused:
    """Pause a group, in place of an earlier pause. Calls that run finish.

    Workers learn of a pause within a second, also workers that begin later. Workers of releases
    before pauses go on. Streams keep what the group has not finished.

    Args:
        broker: the broker.
        group: a group that has workers, or that has read a stream.
        seconds: how long the pause lasts; None: until `resume`.
        note: the operator and the reason; the first 200 characters are kept.

    Raises:
        ConfigurationError: if there is no such group.
    """
    # A new group has workers before it has read anything; an old one perhaps has no worker now.
    workers = (await broker.members(group)).alive
    if not workers:
        await require_group(broker, group)
    stored = await broker.pause(group, seconds, note[:LONGEST_NOTE])
    return Paused(group, stored.until, stored.note, len(workers))


async def resume(broker: Broker, group: str) -> Resumed:
    """End the pause of a group."""
    # No look at the groups: for a misspelt group, the answer is that the group was not paused.
    return Resumed(group, await broker.resume(group))
