"""Pauses: the workers of a group begin no call, of all receivers or of one, until `resume`."""

from dataclasses import dataclass

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.groups import require_group
from edgy_bus.operations.receivers import require_receiver
from edgy_bus.runtime.peers import read_peer

LONGEST_NOTE = 200
"""Characters of a note, which every worker reads in every round."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A group whose workers begin no call, or no call of one receiver."""

    group: str
    until: float | None
    """Seconds since 1970 by the broker's clock; None: until the group is resumed."""
    note: str
    workers: int
    """Workers that were alive when the pause began."""
    receiver: str = ""
    """The receiver; empty for the whole group."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A group whose workers begin calls again, of all receivers or of one."""

    group: str
    was_paused: bool
    receiver: str = ""
    """The receiver; empty for the whole group."""


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


async def pause_receiver(
    broker: Broker, group: str, receiver: str, *, seconds: float | None, note: str
) -> Paused:
    """Pause a receiver, in place of an earlier pause, while its neighbours go on.

    Calls that run finish. The receiver is set aside from each partition then, and comes back after
    the pause, when it has caught up. Its order of rows stays.

    Args:
        broker: the broker.
        group: the group of the receiver.
        receiver: the name that the group's roster has.
        seconds: how long the pause lasts; None: until `resume`.
        note: the operator and the reason; the first 200 characters are kept.

    Raises:
        ConfigurationError: if the group has no such receiver, or a live worker of a release that
            does not set receivers aside.
    """
    status = await require_receiver(broker, group, receiver)
    members = await broker.members(group)
    peers = {worker: read_peer(members.reports.get(worker, b"")) for worker in members.alive}
    older = sorted(
        name for name, peer in peers.items() if not (peer and peer.knows_receivers_aside)
    )
    # Such a worker would go on with the receiver's calls.
    if older:
        raise ConfigurationError(
            f"workers of an older release do not pause a single receiver: stop {', '.join(older)}, "
            f"or pause the whole group {group!r}"
        )
    stored = await broker.pause(group, seconds, note[:LONGEST_NOTE], receiver=receiver)
    return Paused(group, stored.until, stored.note, len(status.workers), receiver)


async def resume(broker: Broker, group: str, receiver: str = "") -> Resumed:
    """End the pause of a group, or of one of its receivers."""
    # No look at the groups: for a misspelt name, the answer is that there was no pause.
    return Resumed(group, await broker.resume(group, receiver=receiver), receiver)
