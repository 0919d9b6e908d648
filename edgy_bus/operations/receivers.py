"""The receivers of groups: which programs have them, and the end of a receiver."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker, Listed
from edgy_bus.codec import loads
from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.operations.groups import group_names


@dataclass(frozen=True, slots=True)
class ReceiverStatus:
    """A receiver of a group."""

    group: str
    name: str
    signals: tuple[str, ...]
    """What the receiver subscribes to, as `accounts.User.post_save`."""
    start: str
    """Where the receiver began: "kept" or "now"."""
    seconds: float
    """The time since a program had the receiver; of a running program, a few seconds."""
    workers: tuple[str, ...]
    """The live workers that have the receiver."""
    forgotten: bool = False
    """Whether the group does not wait for the receiver any more."""

    @property
    def missing(self) -> bool:
        """Return whether no live worker has the receiver, though the group has it."""
        return not self.workers and not self.forgotten


async def receivers(broker: Broker, group: str) -> tuple[ReceiverStatus, ...]:
    """Return the receivers of a group, also those that no program has. Only reads."""
    roster = await broker.roster(group)
    # After the roster: a worker that has just begun may be missing there, and never here.
    members = await broker.members(group)
    alive = {name: members.reports[name] for name in members.alive if name in members.reports}
    receivers_of = {worker: _receivers_in(report) for worker, report in alive.items()}
    return tuple(
        _status(group, name, listed, roster.now, _with(name, receivers_of.items()))
        for name, listed in sorted(roster.receivers.items())
    )


async def all_receivers(broker: Broker) -> tuple[ReceiverStatus, ...]:
    """Return the receivers of every group that has read a stream. Only reads."""
    listed: list[ReceiverStatus] = []
    for name in await group_names(broker):
        listed += await receivers(broker, name)
    return tuple(listed)


async def forget_receiver(broker: Broker, group: str, name: str) -> ReceiverStatus:
    """Forget a receiver that does not come back. Nothing of its group waits for it any more.

    Raises:
        ConfigurationError: if the group does not have the receiver, or a live worker has it.
    """
    by_name = {each.name: each for each in await receivers(broker, group) if not each.forgotten}
    status = by_name.get(name)
    if status is None:
        names = ", ".join(by_name) or "none"
        raise ConfigurationError(
            f"the group {group!r} has no receiver {name!r}; its receivers are: {names}"
        )
    # A live worker would list the receiver again at once, as a new one that has missed events.
    if status.workers:
        raise ConfigurationError(
            f"{len(status.workers)} live workers of the group {group!r} have the receiver "
            f"{name!r} ({', '.join(status.workers)}): stop them, or deploy a program without it"
        )
    await broker.dismiss(group, name)
    return status


def _status(
    group: str, name: str, listed: Listed, now: float, workers: tuple[str, ...]
) -> ReceiverStatus:
    return ReceiverStatus(
        group=group,
        name=name,
        signals=listed.signals,
        start=listed.start,
        seconds=round(max(0.0, now - listed.seen), 3),
        workers=workers,
        forgotten=listed.forgotten,
    )


def _with(name: str, receivers_of: Iterable[tuple[str, frozenset[str]]]) -> tuple[str, ...]:
    return tuple(sorted(worker for worker, names in receivers_of if name in names))


def _receivers_in(report: bytes) -> frozenset[str]:
    """Return the receivers that a worker has, according to its report."""
    # Workers of older releases name no receivers, and any program may have written a report.
    try:
        return frozenset(loads(report)["receivers"])
    except (EventError, LookupError, TypeError):
        return frozenset()
