"""The receivers of groups: which programs have them, and the end of a receiver."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from edgy_bus.brokers.base import ActionEntry, Broker, Members, Pause, Roster, Trip
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.groups import group_names
from edgy_bus.operations.waiting import Waiting, reports_of, waiting_in
from edgy_bus.runtime.peers import read_peer
from edgy_bus.signals import Options

_NO_NAMES: Mapping[str, str] = MappingProxyType({})


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
    names: tuple[str, ...] = ()
    """Other names, by which programs may have the receiver."""
    forgotten: bool = False
    """Whether the group does not wait for the receiver any more."""
    pause: Pause | None = None
    """The pause of the receiver: no worker calls it."""
    trip: Trip | None = None
    """The trip of its breaker: its calls have failed, and none has succeeded since."""
    jobs: int = 0
    """Events that live workers have in hand for the receiver, as they report."""
    waiting: Waiting = field(default_factory=Waiting)
    """The calls of the receiver that wait for their next attempt."""

    @property
    def missing(self) -> bool:
        """Return whether no live worker has the receiver, though the group has it."""
        return not self.workers and not self.forgotten


async def receivers(broker: Broker, group: str) -> tuple[ReceiverStatus, ...]:
    """Return the receivers of a group, also those that no program has. Only reads."""
    roster, names = await broker.roster(group), await broker.names(group)
    # After the roster: a worker that has just begun may be missing there, and never here.
    return receivers_of(group, roster, await broker.members(group), names)


def receivers_of(
    group: str, roster: Roster, members: Members, names: Mapping[str, str] = _NO_NAMES
) -> tuple[ReceiverStatus, ...]:
    """Return the receivers of a group, as its roster and its members show them.

    Args:
        group: the group.
        roster: its receivers.
        members: its workers.
        names: other names of receivers, and their names in the roster.
    """
    reports = reports_of(members)
    alive = {name: members.reports[name] for name in members.alive if name in members.reports}
    peers = {worker: read_peer(report) for worker, report in alive.items()}
    # A report of another program, or of a release that named no receivers, counts for none.
    workers_of = {
        name: tuple(
            sorted(worker for worker, peer in peers.items() if peer and name in peer.receivers)
        )
        for name in roster.receivers
    }
    return tuple(
        ReceiverStatus(
            group=group,
            name=name,
            signals=listed.signals,
            start=listed.start,
            seconds=round(max(0.0, roster.now - listed.seen), 3),
            workers=workers_of[name],
            names=tuple(sorted(other for other in names if names[other] == name)),
            forgotten=listed.forgotten,
            pause=members.paused.get(name),
            trip=members.tripped.get(name),
            jobs=sum(report.of(name).jobs for report in reports.values()),
            waiting=waiting_in(reports, name),
        )
        for name, listed in sorted(roster.receivers.items())
    )


async def all_receivers(broker: Broker) -> tuple[ReceiverStatus, ...]:
    """Return the receivers of every group that has read a stream. Only reads."""
    listed: list[ReceiverStatus] = []
    for name in await group_names(broker):
        listed += await receivers(broker, name)
    return tuple(listed)


async def require_receiver(broker: Broker, group: str, name: str) -> ReceiverStatus:
    """Return a receiver of a group. Only reads.

    Raises:
        ConfigurationError: if the group does not have the receiver.
    """
    return chosen(await receivers(broker, group), group, name)


def chosen(listed: Sequence[ReceiverStatus], group: str, name: str) -> ReceiverStatus:
    """Return a receiver among those of its group.

    Raises:
        ConfigurationError: if the group does not have the receiver.
    """
    by_name = {each.name: each for each in listed if not each.forgotten}
    if name in by_name:
        return by_name[name]
    for each in by_name.values():
        if name in each.names:
            raise ConfigurationError(
                f"{name!r} is another name of the receiver {each.name!r} of the group {group!r}, "
                f"whose progress, letters and metrics have the first name: write {each.name!r}"
            )
    names = ", ".join(by_name) or "none"
    raise ConfigurationError(
        f"the group {group!r} has no receiver {name!r}; its receivers are: {names}"
    )


async def forget_receiver(
    broker: Broker, group: str, name: str, *, by: str | None = None
) -> ReceiverStatus:
    """Forget a receiver that does not come back. Nothing of its group waits for it any more.

    Args:
        broker: the broker.
        group: the group of the receiver.
        name: the receiver.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if the group does not have the receiver, or a live worker has it.
    """
    return await recorded(
        broker,
        ActionEntry(operator_name(by), "receiver forget", group, name),
        _forget(broker, group, name),
        lambda _: Outcome(1, "forgotten"),
    )


async def _forget(broker: Broker, group: str, name: str) -> ReceiverStatus:
    status = await require_receiver(broker, group, name)
    # A live worker would list the receiver again at once, as a new one that has missed events.
    if status.workers:
        raise ConfigurationError(
            f"{len(status.workers)} live workers of the group {group!r} have the receiver "
            f"{name!r} ({', '.join(status.workers)}): stop them, or deploy a program without it"
        )
    # A program that has one of its other names has a receiver of that name from now on.
    await broker.rename(group, name, name)
    await broker.dismiss(group, name)
    await broker.reset(group, name)
    return status


async def rename_receiver(
    broker: Broker, group: str, receiver: str, name: str, *, by: str | None = None
) -> ReceiverStatus:
    """Let programs have a receiver by another name: its function was renamed, or is going to be.

    The group goes on with the first name, under which it keeps the receiver's progress. Workers
    that start from now on know both names, so rename the receiver before its new program starts.

    Args:
        broker: the broker.
        group: the group of the receiver.
        receiver: the name that the group knows.
        name: the other name; the same name takes all other names back.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if the group does not have the receiver, or has a receiver of the other
            name, or if this is no name.
    """
    # The rule for names is that of the option.
    Options(name=name)
    return await recorded(
        broker,
        ActionEntry(operator_name(by), "receiver rename", group, receiver, choice=name),
        _rename(broker, group, receiver, name),
        lambda status: Outcome(1, f"names: {', '.join(status.names) or 'no other'}"),
    )


async def _rename(broker: Broker, group: str, receiver: str, name: str) -> ReceiverStatus:
    await require_receiver(broker, group, receiver)
    if await broker.rename(group, receiver, name) == "taken":
        raise ConfigurationError(
            f"the group {group!r} has a receiver {name!r}, with progress of its own. To let it go "
            f"on as {receiver!r}: stop its workers, `edgy-bus receiver forget {name}`, rename, and "
            f"start them again; then events that {name!r} has handled come again"
        )
    return await require_receiver(broker, group, receiver)
