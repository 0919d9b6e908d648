"""Replay: send events that the outbox still has to a receiver again.

A replay writes copies, which are ordinary outbox rows addressed to a receiver. So relays, streams
and workers know nothing of it; the position of no group moves. `outbox/copying.py` says why the
newest event of each row comes last, while live events go on.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.addressed import (
    LONG,
    AddressedPages,
    Course,
    Step,
    checked_course,
    end_former,
    enter,
    is_table,
    model_of,
    models_of,
    moment,
)
from edgy_bus.operations.filters import fields_of
from edgy_bus.operations.paced import (
    LOCKED,
    Advance,
    Limits,
    Meter,
    Report,
    in_silence,
    until_won,
    write_pages,
)
from edgy_bus.operations.parts import Parts, Publisher
from edgy_bus.operations.receivers import ReceiverStatus, receivers
from edgy_bus.operations.recipients import (
    Recipient,
    partitions_at,
    require_ready,
    strangers_to,
    until_known,
)
from edgy_bus.operations.unfinished import REPLAY, Unfinished, unfinished_at
from edgy_bus.outbox.store import Originals

_PRE = "pre_"


@dataclass(frozen=True, slots=True)
class ReplayOrder:
    """What an operator wants to have sent again.

    Attributes:
        to: the receiver, as GROUP/RECEIVER, or a group for all of its receivers.
        model: the model, `User` or `accounts.User`; None for all models of the service.
        key: the key of a row; None for all rows.
        signal: the name of a signal; None for all that the receivers subscribe to.
        since: the time from which on events were written; None for all that the outbox has.
        until: the time until which events were written; None for up to the newest event.
        course: whether the replay is new.
    """

    to: str
    model: str | None = None
    key: str | None = None
    signal: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    course: Course = "begin"

    @property
    def where(self) -> tuple[str, ...]:
        """Return the conditions of the events as text."""
        times = (("since", self.since), ("until", self.until))
        written = [(name, time and _written(time)) for name, time in times]
        named = [("key", self.key), ("signal", self.signal), *written]
        return tuple(f"{name}={value}" for name, value in named if value is not None)


@dataclass(frozen=True, slots=True)
class ModelReplay:
    """The replay of the events of a model.

    Attributes:
        model: the model with its service.
        where: conditions of the events.
        recipients: the signals of each receiver, as GROUP/RECEIVER, that it gets again.
        events: events to send, also those that an unfinished replay has sent; an event for two
            receivers counts twice.
        done: events that an unfinished replay has sent.
        after: the id of the outbox behind which the events begin.
        until: the id below which they lie, empty for up to the newest event.
        kept_since: when the oldest event of the outbox was written; None without events.
        workers: live workers that have one of the receivers.
        strangers: partitions that do not know a receiver yet: the replay waits for them.
        unfinished: the replay that goes on, or that another one replaces.
    """

    model: str
    where: tuple[str, ...]
    recipients: dict[str, tuple[str, ...]]
    events: int
    done: int
    after: str
    until: str
    kept_since: datetime | None
    workers: tuple[str, ...]
    strangers: tuple[str, ...]
    unfinished: Unfinished | None


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a replay is going to do.

    Attributes:
        to: the receiver, as GROUP/RECEIVER, or the group.
        models: what is sent, by model.
        events: events to send, of all models.
        done: events that an unfinished replay has sent.
        kept_since: from when on the outbox has events; None without events.
        ends_older: why receivers may be left with an older state of a row; empty if the newest
            event of each row comes last.
        course: whether the replay is new.
    """

    to: str
    models: tuple[ModelReplay, ...]
    events: int
    done: int
    kept_since: datetime | None
    ends_older: str
    course: Course


@dataclass(frozen=True, slots=True)
class EventsReplayed:
    """What a replay has done.

    Attributes:
        to: the receiver, as GROUP/RECEIVER, or the group.
        events: copies that this run wrote.
        done: copies that all runs wrote.
        total: events to send at the beginning; live events that came meanwhile may come again.
    """

    to: str
    events: int
    done: int
    total: int


async def plan_replay(parts: Parts, order: ReplayOrder) -> ReplayPlan:
    """Return what a replay is going to do, after all checks. Only reads.

    The databases must be connected.

    Raises:
        ConfigurationError: for a model, a receiver or conditions that do not fit, for a time
            before the oldest event, while a worker of an older release is alive, and if the order
            begins what is unfinished, or resumes nothing.
    """
    _check_times(order)
    recipient = Recipient.parse_any(order.to)
    names = await _models(parts, order, recipient)
    models = [await _plan_model(parts, order, name, recipient) for name in names]
    kept = [each.kept_since for each in models if each.kept_since is not None]
    kept_since = max(kept, default=None)
    if order.until is not None and kept_since is not None and order.until <= kept_since:
        raise ConfigurationError(
            f"the outbox keeps events since {_written(kept_since)}, and has none from before "
            f"{_written(order.until)}: its retention has deleted them"
        )
    subscribed = await receivers(parts.broker, recipient.group)
    return ReplayPlan(
        to=str(recipient),
        models=tuple(models),
        events=sum(each.events for each in models),
        done=sum(each.done for each in models),
        kept_since=kept_since,
        ends_older="; ".join(dict.fromkeys(_older(models, subscribed))),
        course=order.course,
    )


async def replay(
    parts: Parts,
    plan: ReplayPlan,
    limits: Limits | None = None,
    report: Report = in_silence,
    *,
    by: str | None = None,
) -> EventsReplayed:
    """Send the events of a plan again, model by model, in the order in which they were written.

    The databases must be connected. An interrupted call is continued by a plan that resumes.

    Args:
        parts: the parts of the publishing service.
        plan: what to send.
        limits: the bounds.
        report: is called with each advance.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if partitions do not get to know a receiver. Nothing is written then.
        ActionStopped: if another process runs the same replay, or if a worker of an older release
            begins meanwhile.
    """
    recipient, operator = Recipient.parse_any(plan.to), operator_name(by)
    models = [each.model for each in plan.models]
    # As for a backfill: the key of a row stays out of the log.
    fields = sorted({field for each in plan.models for field in fields_of(each.where)})
    choice = " ".join([*models, *(["where", *fields] if fields else ())])
    entry = ActionEntry(operator, REPLAY, recipient.group, recipient.receiver, choice)
    return await recorded(
        parts.broker,
        entry,
        _replay(parts, plan, limits or Limits(), report, operator),
        lambda done: Outcome(done.events, f"wrote {done.events} copies of events"),
    )


async def _replay(
    parts: Parts, plan: ReplayPlan, limits: Limits, report: Report, operator: str
) -> EventsReplayed:
    for each in plan.models:
        recipients = [Recipient.parse(name) for name in each.recipients]
        await until_known(parts.broker, each.model, recipients)
    meter = Meter(plan.done, plan.events, asyncio.get_running_loop().time())

    def lost() -> None:
        report(Advance(meter.done, meter.total, waits=LOCKED))

    # All of them, so that a replay that is cut off in the first model resumes the others as well.
    states = [
        await until_won(partial(_begin, parts, plan, each, operator), lost) for each in plan.models
    ]
    for part, state in zip(plan.models, states, strict=True):
        pages = CopyPages(parts, part, state, limits)
        # Also when a replay is resumed: nobody has noted which transactions were open before.
        await until_won(pages.settle, lost)
        await write_pages(pages, limits, meter, report)
    return EventsReplayed(plan.to, meter.done - plan.done, meter.done, plan.events)


async def _begin(parts: Parts, plan: ReplayPlan, part: ModelReplay, operator: str) -> Unfinished:
    """Return the state to go on from, and record a new replay."""
    if plan.course == "resume" and part.unfinished is not None:
        return part.unfinished
    publisher, _ = model_of(parts, part.model)
    # The times of the options are ids from here on: the clock of the database may be set, and
    # `2h` would be another time when the replay is resumed.
    state = Unfinished(
        model=part.model,
        to=plan.to,
        where=part.where,
        total=part.events,
        done=0,
        after=part.after,
        until=part.until,
        begun=moment(),
        moved=moment(),
        by=operator,
        kind=REPLAY,
    )
    async with publisher.store.database.transaction():
        await end_former(publisher, part.unfinished)
        await enter(publisher, state)
    return state


class CopyPages(AddressedPages):
    """The events of a model, page by page in the order of their numbers."""

    def __init__(self, parts: Parts, part: ModelReplay, state: Unfinished, limits: Limits) -> None:
        publisher, model = model_of(parts, part.model)
        super().__init__(parts.broker, publisher, state, _signals_of(part), limits)
        self._copier = publisher.writer.copier(model, _originals(part), part.recipients)
        self._receivers = len(part.recipients)

    async def settle(self) -> None:
        """Prepare the first page. Raises `TryAgain` if other transactions do not end in time."""
        async with self.publisher.store.database.transaction():
            await self._copier.settle()

    async def step(self, after: str | None, limit: int) -> Step:
        """Write copies of the next events in the open transaction."""
        # A copy for each receiver: the limit is of copies.
        limit = max(1, limit // self._receivers)
        copied = await self._copier.write(int(after or 0), limit)
        return Step(copied.copies, str(copied.after), copied.is_last)


def _originals(part: ModelReplay) -> Originals:
    below = int(part.until) if part.until else None
    return Originals(part.model, tuple(_signals_of(part)), _value(part.where, "key"), below)


def _signals_of(part: ModelReplay) -> Sequence[str]:
    return sorted({signal for signals in part.recipients.values() for signal in signals})


# The plan


async def _models(parts: Parts, order: ReplayOrder, recipient: Recipient) -> list[str]:
    """Return the names of the models whose events are sent."""
    if order.model is not None:
        _, model = model_of(parts, order.model)
        return [f"{parts.service}.{model.name}"]
    # A model with rows of several tables has no row to lock.
    tables = [name for name, (_, model) in sorted(models_of(parts).items()) if is_table(model)]
    if order.course == "resume":
        names = [name for name in tables if await _unfinished(parts, name, recipient)]
        # A model has an entry from the beginning of the replay until its events are sent.
        if not names:
            raise ConfigurationError(f"no replay to {recipient} is unfinished")
        return names
    listed = await receivers(parts.broker, recipient.group)
    wanted = {
        signal.rpartition(".")[0]
        for each in listed
        if recipient.receiver in ("", each.name)
        for signal in each.signals
        if _is_kept(signal, order.signal)
    }
    # Without any, each model says what is wrong with the receiver.
    return [name for name in tables if name in wanted] or tables[:1]


async def _unfinished(parts: Parts, model: str, recipient: Recipient) -> Unfinished | None:
    publisher, _ = model_of(parts, model)
    return await unfinished_at(publisher, REPLAY, model, str(recipient))


async def _plan_model(
    parts: Parts, order: ReplayOrder, name: str, recipient: Recipient
) -> ModelReplay:
    publisher, _ = model_of(parts, name)
    before = await _unfinished(parts, name, recipient)
    where = checked_course(REPLAY, order.course, (name, order.to), order.where, before)
    goes_on = before if order.course == "resume" else None
    after, until = (goes_on.after, goes_on.until) if goes_on else await _range(publisher, order)
    # The signals of an unfinished replay are those that its receivers have now: a receiver may have
    # got another signal with a deployment.
    ready = await _ready(parts.broker, name, recipient, _value(where, "signal"))
    targets = [Recipient(each.group, each.name) for each in ready]
    part = ModelReplay(
        model=name,
        where=where,
        recipients={
            f"{each.group}/{each.name}": _kept(each, name, _value(where, "signal"))
            for each in ready
        },
        events=goes_on.total if goes_on else 0,
        done=goes_on.done if goes_on else 0,
        after=after or "0",
        until=until,
        kept_since=await publisher.store.originals.kept_since(),
        workers=tuple(sorted({worker for each in ready for worker in each.workers})),
        strangers=tuple(map(str, await strangers_to(parts.broker, name, targets))),
        unfinished=before,
    )
    return part if goes_on else replace(part, events=await _count(publisher, part))


async def _range(publisher: Publisher, order: ReplayOrder) -> tuple[str, str]:
    """Return the id behind which the events begin, and the id below which they lie."""
    first_since = publisher.store.searching.first_since
    after = "0" if order.since is None else str(await first_since(order.since) - 1)
    return after, "" if order.until is None else str(await first_since(order.until))


async def _ready(
    broker: Broker, model: str, recipient: Recipient, signal: str | None
) -> list[ReceiverStatus]:
    """Return the receivers that get the events of a model again."""
    listed = await receivers(broker, recipient.group)
    names = {name for each in listed for name in _kept(each, model, signal)}
    if not names:
        # For the error of a receiver that has no such signal.
        names.add(signal or "post_*")
    wanted = [f"{model}.{name}" for name in sorted(names)]
    partitions = await partitions_at(broker, model)
    return list(await require_ready(broker, recipient, wanted, partitions))


async def _count(publisher: Publisher, part: ModelReplay) -> int:
    """Return the number of copies."""
    async with publisher.store.database.transaction(readonly=True, command_timeout=LONG):
        counted = await publisher.store.originals.count(_originals(part), int(part.after))
    # An event is copied for each receiver that subscribes to its signal.
    copies = 0
    for signals in part.recipients.values():
        copies += sum(counted.get(signal, 0) for signal in signals)
    return copies


def _check_times(order: ReplayOrder) -> None:
    if order.key is not None and order.model is None:
        raise ConfigurationError("a key is that of a row of a model: add --model")
    if order.until is None:
        return
    # Live events up to then would come during the replay, which ends at an id and not at a time.
    if order.until > datetime.now(UTC):
        raise ConfigurationError(
            f"{_written(order.until)} has not come: leave --until out to replay up to the newest "
            "event"
        )
    if order.since is not None and order.since >= order.until:
        raise ConfigurationError("--since is not before --until")


def _older(parts: Sequence[ModelReplay], listed: Sequence[ReceiverStatus]) -> Iterator[str]:
    """Yield why a receiver may be left with an older state of a row."""
    # The newest event of a row comes last among the events that are chosen. Only these two options
    # leave out newer ones: `--since`, `--model` and `--key` do not.
    statuses = {f"{each.group}/{each.name}": each for each in listed}
    for part in parts:
        if part.until:
            yield f"events since {_value(part.where, 'until')} do not come again"
        for name, signals in part.recipients.items():
            if omitted := set(_kept(statuses[name], part.model, None)) - set(signals):
                yield f"{name} also gets {', '.join(sorted(omitted))}, which do not come again"


def _is_kept(signal: str, wanted: str | None) -> bool:
    """Return whether the outbox has events of a signal, and whether they are wanted."""
    name = signal.rpartition(".")[2]
    return not name.startswith(_PRE) and wanted in (None, name)


def _kept(status: ReceiverStatus, model: str, wanted: str | None) -> tuple[str, ...]:
    """Return the names of the signals of a model that a receiver gets again."""
    return tuple(
        sorted(
            signal.rpartition(".")[2]
            for signal in status.signals
            if signal.rpartition(".")[0] == model and _is_kept(signal, wanted)
        )
    )


def _value(where: Sequence[str], name: str) -> str | None:
    """Return the value of a condition; None without the condition."""
    for condition in where:
        field, _, text = condition.partition("=")
        if field == name:
            return text
    return None


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
