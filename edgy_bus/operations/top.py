"""The load of groups and receivers: what waits, and how fast events come and go."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edgy_bus.operations.flows import handling_rate
from edgy_bus.operations.overview import AsideStatus, GroupStatus, OutboxStatus, Status, overview
from edgy_bus.operations.parts import Parts
from edgy_bus.operations.receivers import ReceiverStatus, receivers_of
from edgy_bus.operations.relays import RelayStatus
from edgy_bus.operations.waiting import Waiting, reports_of
from edgy_bus.runtime.worker_report import WorkerReport

BETWEEN = 1.0
"""Seconds between the two looks from which the first rates are made."""


class State(StrEnum):
    """What a group or a receiver does, the most urgent first."""

    NO_WORKER = "no worker"
    PAUSED = "paused"
    BREAKER = "breaker open"
    TRYING = "trying"
    SET_ASIDE = "set aside"
    RUNNING = "running"
    AT_REST = "at rest"


@dataclass(frozen=True, slots=True)
class TopReceiver:
    """What a receiver has to do, and how fast its events go."""

    name: str
    state: State
    lag: int | None
    """Events that wait for a receiver that is set aside; None: the receiver is as far as its group,
    or waits for events in hand only."""
    seconds: float | None
    """The age of the oldest of these events."""
    handling: float | None
    """Events that the receiver handles in a second; None if its workers do not tell."""
    jobs: int
    """Events that workers have in hand for the receiver."""
    waiting: Waiting
    workers: int
    """Live workers that have the receiver."""


@dataclass(frozen=True, slots=True)
class TopGroup:
    """What a group has to do, and how fast its events come and go."""

    name: str
    state: State
    lag: int
    counted: bool
    """False if the broker cannot count the unread events of a stream: there are more."""
    seconds: float
    arriving: float | None
    """Events that are published in a second; None if the broker does not count, or just began."""
    finishing: float | None
    """Events that the group finishes in a second."""
    unfinished: int
    waiting: Waiting
    workers: int
    owners: int
    """Workers that own streams."""
    unowned: int
    """Streams with unfinished events that no worker owns."""
    dead: int
    held: int
    receivers: tuple[TopReceiver, ...]


@dataclass(frozen=True, slots=True)
class TopView:
    """The load of all groups, the largest lag first."""

    seconds: float
    """The time over which rates were taken."""
    groups: tuple[TopGroup, ...]
    relays: tuple[RelayStatus, ...]
    outboxes: tuple[OutboxStatus, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at all groups. `at`: when the look began, by the loop's clock."""

    at: float
    status: Status
    receivers: Mapping[str, Sequence[ReceiverStatus]]
    reports: Mapping[str, Mapping[str, WorkerReport]]


class Top:
    """Look at the load of groups again and again.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        unreachable: why a database of the publisher was not reached; empty if all were.
    """

    def __init__(self, parts: Parts, unreachable: str = "") -> None:
        self._parts = parts
        self._unreachable = unreachable
        self._before: _Look | None = None

    async def step(self) -> TopView:
        """Return the load, with rates since the last step. The first step takes a second."""
        # A rate needs two looks; later steps take the look of the step before.
        if self._before is None:
            self._before = await self._look()
            await asyncio.sleep(BETWEEN)
        before, now = self._before, await self._look()
        self._before = now
        return _view(before, now)

    async def _look(self) -> _Look:
        at = asyncio.get_running_loop().time()
        view = await overview(self._parts, self._unreachable)
        receivers, reports = {}, {}
        for group, (roster, members) in view.registered.items():
            receivers[group] = receivers_of(group, roster, members)
            reports[group] = reports_of(members)
        return _Look(at, view.status, receivers, reports)


def _view(before: _Look, now: _Look) -> TopView:
    earlier = {group.name: group for group in before.status.groups}
    seconds = now.at - before.at
    groups = [
        _group(group, earlier.get(group.name), seconds, _receivers(group, before, now))
        for group in now.status.groups
    ]
    # More than the broker can count is more than any number.
    groups.sort(key=lambda each: (each.counted, -each.lag, -each.seconds, each.name))
    return TopView(round(seconds, 3), tuple(groups), now.status.relays, now.status.outboxes)


def _group(
    group: GroupStatus,
    earlier: GroupStatus | None,
    seconds: float,
    receivers: tuple[TopReceiver, ...],
) -> TopGroup:
    rates = None if earlier is None else group.flow.since(earlier.flow, seconds)
    return TopGroup(
        name=group.name,
        state=_state_of(group),
        lag=group.lag,
        counted=group.counted,
        seconds=group.seconds,
        arriving=None if rates is None else round(rates.arriving, 3),
        finishing=None if rates is None else round(rates.finishing, 3),
        unfinished=group.unfinished,
        waiting=group.waiting,
        workers=len(group.workers),
        owners=len(group.owners),
        unowned=group.unowned,
        dead=group.dead,
        held=group.held,
        receivers=receivers,
    )


def _state_of(group: GroupStatus) -> State:
    if group.deserted:
        return State.NO_WORKER
    if group.pause is not None:
        return State.PAUSED
    # Without events, a group may rest: a program that runs at night, for example.
    return State.RUNNING if group.workers else State.AT_REST


def _receivers(group: GroupStatus, before: _Look, now: _Look) -> tuple[TopReceiver, ...]:
    earlier, later = before.reports.get(group.name, {}), now.reports[group.name]
    loads = [
        _receiver(each, group.aside.get(each.name), handling_rate(each.name, earlier, later))
        for each in now.receivers[group.name]
        if not each.forgotten
    ]
    return tuple(sorted(loads, key=lambda each: (-(each.lag or 0), -each.jobs, each.name)))


def _receiver(
    receiver: ReceiverStatus, aside: AsideStatus | None, rate: float | None
) -> TopReceiver:
    return TopReceiver(
        name=receiver.name,
        state=_state_of_receiver(receiver, aside),
        lag=None if aside is None else aside.lag,
        seconds=None if aside is None else aside.seconds,
        handling=None if rate is None else round(rate, 3),
        jobs=receiver.jobs,
        waiting=receiver.waiting,
        workers=len(receiver.workers),
    )


def _state_of_receiver(receiver: ReceiverStatus, aside: AsideStatus | None) -> State:
    # A decision of an operator first, then the cause nearest to the receiver: a receiver that is
    # paused or away is set aside, too.
    if receiver.pause is not None:
        return State.PAUSED
    if receiver.trip is not None:
        return State.BREAKER if receiver.trip.is_open else State.TRYING
    if receiver.missing:
        return State.NO_WORKER
    return State.RUNNING if aside is None else State.SET_ASIDE
