"""Pauses: the workers of a group begin no call, of all receivers or of one, until `resume`."""

from dataclasses import dataclass

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.actions import Outcome, operator_name, recorded
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
    """Workers that were alive when the pause began, and that have the receiver."""
    receiver: str = ""
    """The receiver; empty for the whole group."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """A group whose workers begin calls again, of all receivers or of one."""

    group: str
    was_paused: bool
    """Whether there was a pause, or the breaker of the receiver was open."""
    receiver: str = ""
    """The receiver; empty for the whole group."""


async def pause(
    broker: Broker,
    group: str,
    *,
    seconds: float | None,
    receiver: str = "",
    reason: str | None = None,
    by: str | None = None,
) -> Paused:
    """Pause a group or a receiver, in place of an earlier pause. Calls that run finish.

    Workers learn of a pause within a second, also workers that begin later. Streams keep what is
    not finished. Workers of releases before pauses go on.

    The neighbours of a paused receiver go on. The receiver is set aside from each partition, and
    comes back after the pause, when it has caught up, each row in its order.

    Args:
        broker: the broker.
        group: a group that has workers, or that has read a stream.
        seconds: how long the pause lasts; None: until `resume`.
        receiver: the name that the group's roster has; empty for the whole group.
        reason: the reason, for the note of the pause, of which 200 characters are kept.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if there is no such group or receiver, or a live worker of a release
            that sets no receiver aside, so that a single receiver cannot be paused.
    """
    operator = operator_name(by)
    note = operator if reason is None else f"{operator}: {reason}"
    # The note is for every worker and every view of the group, the log for the history.
    lasting = "until it is resumed" if seconds is None else f"for {seconds:.0f} s"
    choice = lasting if reason is None else f"{lasting}: {reason}"
    return await recorded(
        broker,
        ActionEntry(operator, "pause", group, receiver, choice=choice),
        _pause(broker, group, receiver, seconds, note[:LONGEST_NOTE]),
        lambda paused: Outcome(paused.workers, f"paused {paused.workers} workers"),
    )


async def resume(
    broker: Broker, group: str, *, receiver: str = "", by: str | None = None
) -> Resumed:
    """End the pause of a group, or of a receiver, whose breaker is closed too; `by` as for `pause`.

    A misspelt name is not looked for: what is not paused has the same answer.
    """
    return await recorded(
        broker,
        ActionEntry(operator_name(by), "resume", group, receiver),
        _resume(broker, group, receiver),
        lambda resumed: Outcome(
            int(resumed.was_paused), "resumed" if resumed.was_paused else "was not paused"
        ),
    )


async def _pause(
    broker: Broker, group: str, receiver: str, seconds: float | None, note: str
) -> Paused:
    if receiver:
        workers = (await require_receiver(broker, group, receiver)).workers
        await _refuse_older(broker, group)
    else:
        # A group that has workers and has read nothing yet is no mistake.
        workers = tuple((await broker.members(group)).alive)
        if not workers:
            await require_group(broker, group)
    made = await broker.pause(group, seconds, note, receiver=receiver)
    return Paused(group, made.until, made.note, len(workers), receiver)


async def _refuse_older(broker: Broker, group: str) -> None:
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


async def _resume(broker: Broker, group: str, receiver: str) -> Resumed:
    was_paused = await broker.resume(group, receiver=receiver)
    if receiver:
        # An operator who resumes a receiver knows that its downstream is back.
        was_paused = await broker.reset(group, receiver) or was_paused
    return Resumed(group, was_paused, receiver)
