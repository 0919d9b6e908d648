"""Backfill: send rows that exist to a receiver, as events in order with live changes.

A backfill writes ordinary outbox rows, addressed to the receiver, a page at a time under the locks
of the rows. So relays, streams and workers know nothing of it, and the numbers of the events are in
the order of the commits. `edgy_bus_meta` has how far each backfill is, in the transaction of each
page: after a crash, the backfill goes on with the first row that was not written.
"""

import asyncio
from dataclasses import dataclass

from edgy_bus.brokers.base import ActionEntry, Broker
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.addressed import (
    AddressedPages,
    Course,
    Step,
    checked_course,
    end_former,
    enter,
    model_of,
    moment,
)
from edgy_bus.operations.existing import ExistingRows, rows_of
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
from edgy_bus.operations.recipients import (
    Recipient,
    partitions_at,
    require_ready,
    strangers_to,
    until_known,
)
from edgy_bus.operations.unfinished import BACKFILL, Unfinished, unfinished_at
from edgy_bus.outbox.encoding import REPEATS
from edgy_bus.sources import PagedModel, TableModel


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
    unfinished = await unfinished_at(publisher, BACKFILL, name, str(recipient))
    where = checked_course(BACKFILL, order.course, (name, order.to), order.where, unfinished)
    existing = rows_of(publisher, model, where)
    partitions = await partitions_at(parts.broker, name)
    (ready,) = await require_ready(parts.broker, recipient, [f"{name}.{REPEATS}"], partitions)
    goes_on = unfinished if order.course == "resume" else None
    rows = goes_on.total if goes_on else await existing.count()
    return Plan(
        model=name,
        to=str(recipient),
        where=where,
        rows=rows,
        done=goes_on.done if goes_on else 0,
        workers=ready.workers,
        strangers=tuple(map(str, await strangers_to(parts.broker, name, [recipient]))),
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
    entry = ActionEntry(operator, BACKFILL, recipient.group, recipient.receiver, choice)
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
    await until_known(parts.broker, plan.model, [recipient])
    # The last key comes after that: rows that are newer have live events, which the receiver gets.
    existing = rows_of(publisher, model, plan.where)
    state = await until_won(
        lambda: _begin(publisher, existing, plan, operator),
        lambda: report(Advance(plan.done, plan.rows, waits=LOCKED)),
    )
    if state is None:
        return Backfilled(plan.model, plan.to, plan.where, 0, 0, 0)
    meter = Meter(state.done, state.total, asyncio.get_running_loop().time())
    pages = RowPages(parts.broker, publisher, existing, state, limits)
    await write_pages(pages, limits, meter, report)
    return Backfilled(
        plan.model, plan.to, plan.where, meter.done - state.done, meter.done, state.total
    )


async def _begin(
    publisher: Publisher, existing: ExistingRows, plan: Plan, operator: str
) -> Unfinished | None:
    """Return the state to go on from, and record a new backfill; None without any row."""
    if plan.course == "resume" and plan.unfinished is not None:
        return plan.unfinished
    async with publisher.store.database.transaction():
        await end_former(publisher, plan.unfinished)
        until = await existing.last()
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
            begun=moment(),
            moved=moment(),
            by=operator,
        )
        await enter(publisher, state)
    return state


class RowPages(AddressedPages):
    """The rows of a backfill, page by page in the order of their keys."""

    def __init__(
        self,
        broker: Broker,
        publisher: Publisher,
        existing: ExistingRows,
        state: Unfinished,
        limits: Limits,
    ) -> None:
        super().__init__(broker, publisher, state, [REPEATS], limits)
        self._existing = existing

    async def step(self, after: str | None, limit: int) -> Step:
        """Write the events of the next rows in the open transaction."""
        sent = await self._existing.send(after, self.state.until, limit, self.state.to)
        return Step(sent.rows, sent.last or after, is_last=not sent.rows)


def _model(parts: Parts, name: str) -> tuple[Publisher, TableModel | PagedModel]:
    """Return a model whose rows can be sent. Raises `ConfigurationError` for another name."""
    publisher, model = model_of(parts, name)
    if not publisher.writer.records(model, REPEATS):
        raise ConfigurationError(
            f"{parts.service}.{model.name} publishes no {REPEATS}, so no worker would get its "
            "rows: see Meta.publish of the model, and Bus(publish=…)"
        )
    return publisher, model
