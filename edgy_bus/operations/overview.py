"""How far groups are, their workers, and the events that wait: the views of an operator on call."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from edgy_bus.brokers.base import Broker, GroupSurvey, Members, Pause, Roster, StreamSurvey, Trip
from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from edgy_bus.operations.flows import Flow
from edgy_bus.operations.parts import Parts, outbox_name
from edgy_bus.operations.relays import RelayStatus, relays
from edgy_bus.operations.surveys import since_of, surveyed, worker_of
from edgy_bus.operations.waiting import Waiting, reports_of, waiting_in
from edgy_bus.outbox.store import OutboxStore


@dataclass(frozen=True, slots=True)
class AsideStatus:
    """How far a receiver is that reads in a group of its own."""

    streams: int
    """Streams from which the receiver is set aside."""
    lag: int
    """Events that the receiver has not finished, as far as the broker counts them."""
    seconds: float
    """The age of the oldest of these events."""
    size: int
    """Bytes of these streams, as far as the broker says."""


@dataclass(frozen=True, slots=True)
class Since:
    """When a worker took its streams, by the clock of the worker."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """How far a group is on all of its streams together."""

    name: str
    workers: tuple[str, ...]
    """The workers that are alive."""
    owners: Mapping[str, int]
    """Worker to the number of streams that it owns, also of workers that died lately."""
    streams: int
    """Streams that the group has read."""
    lag: int
    """Events that the group has not finished, as far as the broker counts them."""
    counted: bool
    """False if the broker cannot count the unread events of a stream: there are more."""
    unfinished: int
    """Events of the lag that workers have read."""
    seconds: float
    """The age of the oldest event that the group has not finished; 0 without such an event."""
    dead: int
    held: int
    """Rows that receivers hold, or that are being released."""
    unowned: int
    """Streams with unfinished events that no worker owns."""
    pause: Pause | None = None
    """The pause of the group: its workers begin no call."""
    paused: Mapping[str, Pause] = field(default_factory=dict)
    """The receivers that operators have paused, by name."""
    tripped: Mapping[str, Trip] = field(default_factory=dict)
    """The receivers whose breakers have opened, by name."""
    aside: Mapping[str, "AsideStatus"] = field(default_factory=dict)
    """The receivers that are set aside, by name."""
    since: Mapping[str, Since] = field(default_factory=dict)
    """Worker to when it took its streams, for the owners that tell."""
    flow: Flow = field(default_factory=Flow)
    """What has come and gone so far; two looks give rates."""
    waiting: Waiting = field(default_factory=Waiting)
    """The calls that wait for their next attempt, as the live workers report."""
    unpublished: tuple[str, ...] = ()
    """Signals of models that no service has declared, to which receivers of the group listen."""
    removed: int = 0
    """Dead letters that were removed so far, because of the limits of the group's workers."""

    @property
    def deserted(self) -> bool:
        """Return whether events wait for a group without workers."""
        # Without events, a group may rest: a program that runs at night, for example.
        return not self.workers and (self.lag > 0 or not self.counted)

    @property
    def well(self) -> bool:
        """Return whether an operator has nothing to do for the group."""
        waits = self.pause or self.paused or self.tripped
        return not (self.dead or self.held or self.deserted or waits)


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What waits in the outbox of a database of the publisher."""

    database: str
    """The kind, the host and the name of the database."""
    pending: int | None
    """Events that are not in their stream; None if the outbox cannot be read."""
    seconds: float | None
    """The age of the oldest of these events; None without such an event."""
    error: str = ""
    """Why the outbox cannot be read."""


@dataclass(frozen=True, slots=True)
class Status:
    """The groups of a broker, and the outboxes of a service."""

    models: int
    streams: int
    entries: int
    size: int | None
    """Bytes of all streams; None if the broker does not say."""
    groups: tuple[GroupStatus, ...]
    outboxes: tuple[OutboxStatus, ...] = ()
    relays: tuple[RelayStatus, ...] = ()
    """The relays of all services that run, also those that stand by."""

    @property
    def well(self) -> bool:
        """Return whether an operator has nothing to do."""
        return all(group.well for group in self.groups) and not any(
            outbox.error for outbox in self.outboxes
        )


@dataclass(frozen=True, slots=True)
class StreamGroup:
    """How far a group is on a stream."""

    name: str
    owner: str
    """The worker; empty if no worker owns the stream for the group."""
    lag: int | None
    seconds: float
    dead: int
    held: int
    since: datetime | None = None
    """When the owner took the stream, by its own clock; None if unknown."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream with its groups."""

    model: str
    partition: str
    entries: int
    size: int | None
    groups: tuple[StreamGroup, ...]


@dataclass(slots=True)
class _Sum:
    """The sums of a group over its streams."""

    streams: int = 0
    unread: int = 0
    counted: bool = True
    unfinished: int = 0
    seconds: float = 0.0
    dead: int = 0
    held: int = 0
    removed: int = 0
    unowned: int = 0
    owners: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    aside: dict[str, AsideStatus] = field(default_factory=dict)
    since: dict[str, Since] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)

    def set_aside(self, receiver: str, survey: GroupSurvey, now: int, size: int) -> None:
        before = self.aside.get(receiver, AsideStatus(0, 0, 0.0, 0))
        age = age_of(survey, now)
        self.aside[receiver] = AsideStatus(
            before.streams + 1,
            before.lag + survey.unfinished + (survey.unread or 0),
            max(before.seconds, age),
            before.size + size,
        )
        # The group has not finished what one of its receivers has not finished.
        self.seconds = max(self.seconds, age)

    def add(self, survey: GroupSurvey, now: int) -> None:
        self.streams += 1
        self.unread += survey.unread or 0
        self.counted = self.counted and survey.unread is not None
        self.unfinished += survey.unfinished
        # The worst stream counts: a mean would hide one row that blocks its stream.
        self.seconds = max(self.seconds, age_of(survey, now))
        self.dead += survey.dead
        self.held += survey.held
        self.removed += survey.removed
        self.flow = self.flow.plus(survey.read, survey.unread, survey.unfinished)
        if owner := worker_of(survey.holder):
            self.owners[owner] += 1
            self._note_since(owner, since_of(survey.holder))
        # A stream at rest needs no owner for what it has.
        elif survey.oldest is not None:
            self.unowned += 1

    def _note_since(self, owner: str, began: datetime | None) -> None:
        if began is not None:
            known = self.since.get(owner, Since(began, began))
            self.since[owner] = Since(min(known.first, began), max(known.last, began))


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of everything, and what the groups have registered."""

    status: Status
    registered: Mapping[str, tuple[Roster, Members]]
    """Group to its roster and its members."""


async def status(parts: Parts, unreachable: str = "") -> Status:
    """Return the state of every group, and of the outboxes; see `overview`."""
    return (await overview(parts, unreachable)).status


async def overview(parts: Parts, unreachable: str = "") -> Overview:
    """Return the state of every group, and of the outboxes where their databases are connected.

    Only reads. Memory grows with the number of groups, and not with the number of streams.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        unreachable: why a database of the publisher was not reached; empty if all were.
    """
    broker = parts.broker
    sums: dict[str, _Sum] = defaultdict(_Sum)
    declared = await broker.declared()
    # Only sums stay: a system has many more streams than groups.
    streams = entries = size = 0
    is_sized = True
    async for stream in surveyed(broker, declared):
        streams += 1
        entries += stream.entries
        size += stream.size or 0
        is_sized = is_sized and stream.size is not None
        for group in stream.groups:
            sums[group.group].add(group, stream.now)
        for aside in stream.asides:
            name, _, receiver = aside.group.partition("/")
            sums[name].set_aside(receiver, aside, stream.now, stream.size or 0)
    # After the streams: a worker that joined in between owns nothing yet, and counts as alive.
    # Members after the roster: a worker that has just begun may be missing there, and never here.
    registered = {
        name: (await broker.roster(name), await broker.members(name)) for name in sorted(sums)
    }
    groups = [_group(name, sums[name], declared, *each) for name, each in registered.items()]
    outboxes = [await _outbox(store) for store in parts.outboxes]
    if unreachable:
        outboxes.append(OutboxStatus("", None, None, unreachable))
    state = Status(
        models=len(declared),
        streams=streams,
        entries=entries,
        size=size if is_sized else None,
        groups=tuple(groups),
        outboxes=tuple(outboxes),
        relays=await relays(broker),
    )
    return Overview(state, registered)


async def streams(
    broker: Broker, *, model: str | None = None, group: str | None = None
) -> Sequence[StreamStatus]:
    """Return every stream that has entries or groups. Only reads.

    Args:
        broker: the broker.
        model: only streams of this model.
        group: only this group of each stream, and only streams that the group has read.
    """
    views = []
    async for stream in surveyed(broker, await broker.declared(), model):
        view = _stream(stream, group)
        # Declared models have streams that nobody has written to, which say nothing.
        if view.groups or (group is None and view.entries):
            views.append(view)
    return views


def _group(
    name: str, total: _Sum, declared: Mapping[str, int], roster: Roster, members: Members
) -> GroupStatus:
    return GroupStatus(
        name=name,
        workers=tuple(sorted(members.alive)),
        owners=dict(total.owners),
        streams=total.streams,
        lag=total.unread + total.unfinished,
        counted=total.counted,
        unfinished=total.unfinished,
        seconds=total.seconds,
        dead=total.dead,
        held=total.held,
        unowned=total.unowned,
        pause=members.pause,
        paused=dict(sorted(members.paused.items())),
        tripped=dict(sorted(members.tripped.items())),
        aside=dict(sorted(total.aside.items())),
        since=dict(total.since),
        flow=total.flow,
        waiting=waiting_in(reports_of(members)),
        unpublished=_unpublished(roster, declared),
        removed=total.removed,
    )


def _unpublished(roster: Roster, declared: Mapping[str, int]) -> tuple[str, ...]:
    listed = [each for each in roster.receivers.values() if not each.forgotten]
    signals = {signal for each in listed for signal in each.signals}
    return tuple(sorted(each for each in signals if each.rpartition(".")[0] not in declared))


async def _outbox(store: OutboxStore) -> OutboxStatus:
    name = outbox_name(store)
    try:
        pending, seconds = await store.count_pending(), await store.oldest_pending()
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        # A service that has never started has no tables; the other outboxes may be well.
        return OutboxStatus(name, None, None, f"the outbox cannot be read: {error}")
    return OutboxStatus(name, pending, seconds)


def _stream(stream: StreamSurvey, group: str | None) -> StreamStatus:
    groups = [
        StreamGroup(
            name=survey.group,
            owner=worker_of(survey.holder),
            lag=None if survey.unread is None else survey.unread + survey.unfinished,
            seconds=age_of(survey, stream.now),
            dead=survey.dead,
            held=survey.held,
            since=since_of(survey.holder) if survey.holder else None,
        )
        for survey in stream.groups
        if group in (None, survey.group)
    ]
    partition = stream.partition
    return StreamStatus(partition.model, partition.name, stream.entries, stream.size, tuple(groups))


def age_of(survey: GroupSurvey, now: int) -> float:
    """Return the seconds for which the oldest unfinished event waits, by the broker's clock."""
    # A server whose clock went back has entries of the future.
    return 0.0 if survey.oldest is None else max(0.0, (now - survey.oldest.ms) / 1000)
