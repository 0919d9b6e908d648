"""Backfill: send rows that exist to a receiver, as events in order with live changes.

A backfill writes ordinary outbox rows, addressed to the receiver, a page at a time under the locks
of the rows. So relays, streams and workers know nothing of it, and the numbers of the events are in
the order of the commits. `edgy_bus_meta` has how far each backfill is, in the transaction of each
page: after a crash, the backfill goes on with the first row that was not written.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import ColumnElement, func, select

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.codec import key_text
from edgy_bus.errors import (
    ActionStopped,
    BrokerUnavailable,
    ConfigurationError,
    IntegrityError,
)
from edgy_bus.events import Partition, partitions_of
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.filters import fields_of, lookups_of
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
from edgy_bus.operations.recipients import Recipient, require_ready
from edgy_bus.operations.unfinished import (
    KIND,
    Unfinished,
    entries_of,
    entry_name,
    name_of,
    read_entry,
    text_of,
)
from edgy_bus.outbox.encoding import REPEATS
from edgy_bus.signals.spelling import suggestion
from edgy_bus.sources import TableModel
from edgy_bus.sources.statements import last_key

_LOOK_EVERY = 2.0
"""Seconds between two looks at the streams of the receiver."""

_PATIENCE = 30.0
"""Seconds that a backfill waits until all partitions know a new receiver."""

_COUNT_TIMEOUT = 600
"""Seconds that the counting of the rows may take."""

Course = Literal["begin", "resume", "restart"]
"""Whether a backfill is new, goes on, or begins anew instead of going on."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants to have sent.

    Attributes:
        model: the model, `User` or `accounts.User`.
        to: the receiver, as GROUP/RECEIVER.
        where: conditions of the rows, as `status=paid` or `created__gte=2026-01-01`.
        course: whether the backfill is new.
    """

    model: str
    to: str
    where: tuple[str, ...] = ()
    course: Course = "begin"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill is going to do.

    Attributes:
        model: the model with its service.
        to: the receiver, as GROUP/RECEIVER.
        where: conditions of the rows.
        rows: rows that match, also those that an unfinished backfill has sent.
        done: rows that an unfinished backfill has sent.
        workers: live workers that have the receiver.
        strangers: partitions that do not know the receiver yet: the backfill waits for them.
        unfinished: the backfill that goes on, or that another one replaces.
        course: whether the backfill is new.
    """

    model: str
    to: str
    where: tuple[str, ...]
    rows: int
    done: int
    workers: tuple[str, ...]
    strangers: tuple[str, ...]
    unfinished: Unfinished | None
    course: Course


@dataclass(frozen=True, slots=True)
class Backfilled:
    """What a backfill has done.

    Attributes:
        model: the model with its service.
        to: the receiver, as GROUP/RECEIVER.
        where: conditions of the rows.
        events: events that this run wrote.
        done: events that all runs wrote.
        total: rows that matched at the beginning.
    """

    model: str
    to: str
    where: tuple[str, ...]
    events: int
    done: int
    total: int


async def plan_backfill(parts: Parts, order: Order) -> Plan:
    """Return what a backfill is going to do, after all checks. Only reads.

    The databases must be connected.

    Raises:
        ConfigurationError: for a model, a receiver or conditions that do not fit, while a worker of
            an older release is alive, and if the order begins what is unfinished, or resumes
            nothing.
    """
    publisher, model = _model(parts, order.model)
    name, recipient = f"{parts.service}.{model.name}", Recipient.parse(order.to)
    before = (await entries_of(publisher)).get(entry_name(name, recipient))
    unfinished = None if before is None else read_entry(entry_name(name, recipient), before)
    where = _checked_course(order, name, unfinished)
    _conditions(model, where)
    partitions = await _partitions(parts.broker, name)
    ready = await require_ready(parts.broker, recipient, f"{name}.{REPEATS}", partitions)
    goes_on = unfinished if order.course == "resume" else None
    rows = goes_on.total if goes_on else await _count(publisher, model, where)
    return Plan(
        model=name,
        to=str(recipient),
        where=where,
        rows=rows,
        done=goes_on.done if goes_on else 0,
        workers=ready.workers,
        strangers=tuple(map(str, await _strangers(parts.broker, name, recipient))),
        unfinished=unfinished,
        course=order.course,
    )


async def backfill(
    parts: Parts,
    plan: Plan,
    limits: Limits | None = None,
    report: Report = in_silence,
    *,
    by: str | None = None,
) -> Backfilled:
    """Send the rows of a plan to its receiver, in the order of their keys.

    The databases must be connected. An interrupted call is continued by a plan that resumes.

    Args:
        parts: the parts of the publishing service.
        plan: what to send.
        limits: the bounds.
        report: is called with each advance.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.

    Raises:
        ConfigurationError: if partitions do not get to know the receiver. Nothing is written then.
        ActionStopped: if another process runs the same backfill, or if a worker of an older release
            begins meanwhile.
    """
    recipient, operator = Recipient.parse(plan.to), operator_name(by)
    # Names of fields only: the log is no place for values of rows.
    choice = " ".join([plan.model, *(["where", *fields_of(plan.where)] if plan.where else ())])
    entry = ActionEntry(operator, KIND, recipient.group, recipient.receiver, choice)
    return await recorded(
        parts.broker,
        entry,
        _backfill(parts, plan, limits or Limits(), report, operator),
        lambda done: Outcome(done.events, f"wrote {done.done} events for {done.total} rows"),
    )


async def _backfill(
    parts: Parts, plan: Plan, limits: Limits, report: Report, operator: str
) -> Backfilled:
    recipient = Recipient.parse(plan.to)
    publisher, model = _model(parts, plan.model)
    await _until_known(parts.broker, plan.model, recipient)
    # The last key comes after that: rows that are newer have live events, which the receiver gets.
    state = await until_won(
        lambda: _begin(publisher, model, plan, operator),
        lambda: report(Advance(plan.done, plan.rows, waits=LOCKED)),
    )
    if state is None:
        return Backfilled(plan.model, plan.to, plan.where, 0, 0, 0)
    meter = Meter(state.done, state.total, asyncio.get_running_loop().time())
    pages = RowPages(parts.broker, publisher, model, state, limits)
    await write_pages(pages, limits, meter, report)
    return Backfilled(
        plan.model, plan.to, plan.where, meter.done - state.done, meter.done, state.total
    )


async def _begin(
    publisher: Publisher, model: TableModel, plan: Plan, operator: str
) -> Unfinished | None:
    """Return the state to go on from, and record a new backfill; None without any row."""
    if plan.course == "resume" and plan.unfinished is not None:
        return plan.unfinished
    progress, former = publisher.store.progress, plan.unfinished
    async with publisher.store.database.transaction():
        if former is not None and not await progress.end(name_of(former), text_of(former)):
            raise _overtaken(former)
        until = await _last_key(publisher, model, plan.where)
        if until is None:
            return None
        state = Unfinished(
            model=plan.model,
            to=plan.to,
            where=plan.where,
            total=plan.rows,
            done=0,
            after=None,
            until=until,
            begun=_now(),
            moved=_now(),
            by=operator,
        )
        try:
            await progress.begin(name_of(state), text_of(state))
        except IntegrityError as error:
            # Another process has begun since the plan.
            raise _overtaken(state) from error
    return state


class RowPages:
    """The rows of a backfill, page by page in the order of their keys."""

    def __init__(
        self,
        broker: Broker,
        publisher: Publisher,
        model: TableModel,
        state: Unfinished,
        limits: Limits,
    ) -> None:
        self._broker = broker
        self._publisher = publisher
        self._model = model
        self._state = state
        self._limits = limits
        self._recipient = Recipient.parse(state.to)
        self._where = [
            *_conditions(model, state.where),
            *model.conditions({"pk__lte": state.until}),
        ]
        self._next_look = float("-inf")
        self._behind = ""

    async def write(self, limit: int) -> int:
        """Write the events of the next rows, and how far the backfill is, in a transaction."""
        state, progress = self._state, self._publisher.store.progress
        where = list(self._where)
        # By the last key, never by OFFSET: rows that are deleted meanwhile would move others up.
        if state.after is not None:
            where += self._model.conditions({"pk__gt": state.after})
        async with self._publisher.store.database.transaction():
            keys = await self._publisher.writer.repeat(self._model, where, limit, state.to)
            if keys:
                after = replace(
                    state, after=_written(keys[-1]), done=state.done + len(keys), moved=_now()
                )
                is_ours = await progress.advance(name_of(state), text_of(state), text_of(after))
            else:
                after = state
                is_ours = await progress.end(name_of(state), text_of(state))
            # The transaction takes the events back, too.
            if not is_ours:
                raise _overtaken(state)
        # After the commit: a transaction that lost is repeated from the same key.
        self._state = after
        return len(keys)

    async def obstacle(self) -> str:
        """Return why the next page has to wait; empty if there is room."""
        pending = await self._publisher.store.count_pending()
        # Live events are published behind those that are pending.
        if pending > self._limits.pending:
            return f"{pending:,} events in the outbox wait for a relay"
        now = asyncio.get_running_loop().time()
        if now >= self._next_look:
            self._next_look = now + _LOOK_EVERY
            self._behind = await self._look()
        return self._behind

    async def _look(self) -> str:
        model, recipient = self._state.model, self._recipient
        try:
            # A worker of an older release may have begun: a deployment was taken back.
            partitions = await _partitions(self._broker, model)
            await require_ready(self._broker, recipient, f"{model}.{REPEATS}", partitions)
            behind = await _behind(self._broker, partitions, recipient)
        except BrokerUnavailable as error:
            return f"Redis does not answer: {error}"
        except ConfigurationError as error:
            raise ActionStopped(f"{error}; then continue with --resume") from error
        if behind > self._limits.behind:
            return f"{recipient} has {behind:,} events to finish"
        return ""


# The model and its rows


def _model(parts: Parts, name: str) -> tuple[Publisher, TableModel]:
    """Return a model whose rows can be sent. Raises `ConfigurationError` for another name."""
    if not parts.publishers:
        raise ConfigurationError(
            "this bus has no registry, so it has no rows to send: name the bus of the service that "
            "publishes the model"
        )
    models = {
        f"{parts.service}.{model.name}": (publisher, model)
        for publisher in parts.publishers
        for model in publisher.source.described()
    }
    full = name if name in models else f"{parts.service}.{name}"
    if full not in models:
        hint = suggestion(full, sorted(models), "the models are")
        raise ConfigurationError(f"the service {parts.service!r} has no model {name!r}{hint}")
    publisher, model = models[full]
    if not hasattr(model, "table") or not hasattr(model, "pk"):
        raise ConfigurationError(f"{full} has rows of several tables, which cannot be sent again")
    if not publisher.writer.records(model, REPEATS):
        raise ConfigurationError(
            f"{full} publishes no {REPEATS}, so no worker would get its rows: see Meta.publish of "
            "the model, and Bus(publish=…)"
        )
    return publisher, cast("TableModel", model)


def _conditions(model: TableModel, where: Sequence[str]) -> Sequence[ColumnElement[bool]]:
    return model.conditions(lookups_of(where))


async def _count(publisher: Publisher, model: TableModel, where: Sequence[str]) -> int:
    database = publisher.store.database
    counting = select(func.count().label("n")).select_from(model.table)
    counting = counting.where(*_conditions(model, where))
    async with database.transaction(readonly=True, command_timeout=_COUNT_TIMEOUT):
        return int((await database.run(counting)).rows[0]["n"])


async def _last_key(publisher: Publisher, model: TableModel, where: Sequence[str]) -> str | None:
    key = model.table.c[model.pk]
    rows = await publisher.store.database.run(last_key(key, _conditions(model, where)))
    return _written(rows.rows[0][key.name]) if rows.rows else None


def _written(key: Any) -> str:
    """Return a key as text from which its field reads the same key."""
    if not isinstance(key, int | str | uuid.UUID):
        raise ConfigurationError(
            f"a backfill goes through keys that are numbers, texts or UUIDs, not through keys of "
            f"the type {type(key).__name__}"
        )
    return key_text(key)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# The receiver


async def _until_known(broker: Broker, model: str, recipient: Recipient) -> None:
    """Wait until every partition knows the receiver, so that no event passes the receiver by."""
    clock = asyncio.get_running_loop().time
    end = clock() + _PATIENCE
    while strangers := await _strangers(broker, model, recipient):
        if clock() >= end:
            raise ConfigurationError(
                f"{len(strangers)} partitions of {model} do not know the receiver {recipient} yet "
                f"({', '.join(map(str, strangers[:3]))}…), and would let its events pass: start "
                f"workers of the group {recipient.group!r}"
            )
        await asyncio.sleep(0.2)


async def _strangers(broker: Broker, model: str, recipient: Recipient) -> list[Partition]:
    partitions = await _partitions(broker, model)
    return await broker.strangers_to(partitions, recipient.group, recipient.receiver)


async def _behind(broker: Broker, partitions: Sequence[Partition], recipient: Recipient) -> int:
    """Return the entries that the receiver may have to finish."""
    behind = 0
    for stream in await broker.survey(partitions) if partitions else ():
        # Of the group, and of the receiver's own group where it is set aside.
        roles = (recipient.group, str(recipient))
        surveys = [each for each in (*stream.groups, *stream.asides) if each.group in roles]
        lags = [each.unfinished + (each.unread or 0) for each in surveys]
        # A group that has not read the stream yet has everything to finish.
        behind += max(lags, default=stream.entries)
    return behind


async def _partitions(broker: Broker, model: str) -> Sequence[Partition]:
    return partitions_of(model, (await broker.declared()).get(model, 0))


# The order


def _checked_course(order: Order, model: str, unfinished: Unfinished | None) -> tuple[str, ...]:
    """Return the conditions of the rows. Raises `ConfigurationError` for a course that is none."""
    if unfinished is None:
        if order.course == "resume":
            raise ConfigurationError(f"no backfill of {model} to {order.to} is unfinished")
        return order.where
    if order.course == "begin":
        raise ConfigurationError(
            f"a backfill of {model} to {order.to} is unfinished: {unfinished.done:,} of "
            f"{unfinished.total:,} rows are sent. Continue with --resume, or begin anew with "
            "--restart"
        )
    if order.course == "restart":
        return order.where
    if order.where and order.where != unfinished.where:
        written = " ".join(unfinished.where) or "no condition"
        raise ConfigurationError(
            f"the unfinished backfill has other rows ({written}): resume it without --where, or "
            "begin anew with --restart"
        )
    return unfinished.where


def _overtaken(state: Unfinished) -> ActionStopped:
    return ActionStopped(
        f"another process has gone on with the backfill of {state.model} to {state.to}: "
        "only one may run at a time"
    )
