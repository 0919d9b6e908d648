"""Write the events of a backfill or a replay, with the progress in `edgy_bus_meta`.

A page and its progress are one transaction: a crash neither skips nor repeats an event, and of two
processes with the same action one stops.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple, TypeGuard

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import ActionStopped, BrokerUnavailable, ConfigurationError, IntegrityError
from edgy_bus.operations.paced import Limits
from edgy_bus.operations.parts import Parts, Publisher
from edgy_bus.operations.recipients import (
    Recipient,
    partitions_at,
    require_ready,
    unfinished_by,
)
from edgy_bus.operations.unfinished import UNITS, Kind, Unfinished, name_of, text_of
from edgy_bus.signals.spelling import suggestion
from edgy_bus.sources import SourceModel, TableModel

LOOK_EVERY = 2.0
"""Seconds between two looks at the streams of the receiver."""

LONG = 600
"""Seconds that a statement may take that goes through many rows."""

Course = Literal["begin", "resume", "restart"]
"""Whether an action is new, goes on, or begins anew instead of going on."""


def models_of(parts: Parts) -> dict[str, tuple[Publisher, SourceModel]]:
    """Return the models of the service by their full names.

    Raises:
        ConfigurationError: if the bus has no registry.
    """
    if not parts.publishers:
        raise ConfigurationError(
            "this bus has no registry, so it has nothing to send: name the bus of the service that "
            "publishes the model"
        )
    return {
        f"{parts.service}.{model.name}": (publisher, model)
        for publisher in parts.publishers
        for model in publisher.source.described()
    }


def is_table(model: SourceModel) -> TypeGuard[TableModel]:
    """Return whether the rows of a model are the rows of one table."""
    return hasattr(model, "table") and hasattr(model, "pk")


def model_of(parts: Parts, name: str) -> tuple[Publisher, TableModel]:
    """Return a model whose rows can be locked. Raises `ConfigurationError` for another name."""
    models = models_of(parts)
    full = name if name in models else f"{parts.service}.{name}"
    if full not in models:
        hint = suggestion(full, sorted(models), "the models are")
        raise ConfigurationError(f"the service {parts.service!r} has no model {name!r}{hint}")
    publisher, model = models[full]
    if not is_table(model):
        raise ConfigurationError(f"{full} has rows of several tables, which cannot be sent again")
    return publisher, model


def checked_course(
    kind: Kind,
    course: Course,
    place: tuple[str, str],
    where: Sequence[str],
    before: Unfinished | None,
) -> tuple[str, ...]:
    """Return the conditions of an action. Raises `ConfigurationError` for a course that is none.

    Args:
        kind: the action.
        course: whether the action is new.
        place: the model and the receiver.
        where: the conditions that the operator names.
        before: the unfinished action of this kind for the model and the receiver.
    """
    model, to = place
    units = UNITS[kind]
    if before is None:
        if course == "resume":
            raise ConfigurationError(f"no {kind} of {model} to {to} is unfinished")
        return tuple(where)
    if course == "begin":
        raise ConfigurationError(
            f"a {kind} of {model} to {to} is unfinished: {before.done:,} of {before.total:,} "
            f"{units} are sent. Continue with --resume, or begin anew with --restart"
        )
    if course == "restart":
        return tuple(where)
    # The rest of another choice would be a mixture of both.
    if where and tuple(where) != before.where:
        written = " ".join(before.where) or "no condition"
        raise ConfigurationError(
            f"the unfinished {kind} has other {units} ({written}): resume it without conditions, "
            "or begin anew with --restart"
        )
    return before.where


async def end_former(publisher: Publisher, former: Unfinished | None) -> None:
    """Remove the entry of the action that another one replaces, in the open transaction."""
    progress = publisher.store.progress
    if former is not None and not await progress.end(name_of(former), text_of(former)):
        raise _overtaken(former)


async def enter(publisher: Publisher, state: Unfinished) -> None:
    """Add the entry of an action that begins, in the open transaction."""
    try:
        await publisher.store.progress.begin(name_of(state), text_of(state))
    except IntegrityError as error:
        # Another process has begun since the plan.
        raise _overtaken(state) from error


class Step(NamedTuple):
    """The result of a page.

    Attributes:
        events: the number of events.
        after: how far the action is.
        is_last: whether the action has ended.
    """

    events: int
    after: str | None
    is_last: bool


class AddressedPages(ABC):
    """The events of an action, page by page."""

    def __init__(
        self,
        broker: Broker,
        publisher: Publisher,
        state: Unfinished,
        signals: Sequence[str],
        limits: Limits,
    ) -> None:
        self.publisher = publisher
        self.state = state
        self._broker = broker
        self._signals = [f"{state.model}.{signal}" for signal in signals]
        self._limits = limits
        self._to = Recipient.parse_any(state.to)
        self._is_over = False
        self._next_look = float("-inf")
        self._behind = ""

    @abstractmethod
    async def step(self, after: str | None, limit: int) -> Step:
        """Write the next events in the open transaction."""

    async def write(self, limit: int) -> int:
        """Write the next events, and how far the action is, in a transaction."""
        # A step without events is no end.
        while not self._is_over:
            if events := await self._write(limit):
                return events
        return 0

    async def _write(self, limit: int) -> int:
        state, progress = self.state, self.publisher.store.progress
        async with self.publisher.store.database.transaction(command_timeout=LONG):
            step = await self.step(state.after, limit)
            after = replace(state, after=step.after, done=state.done + step.events, moved=moment())
            if step.is_last:
                is_ours = await progress.end(name_of(state), text_of(state))
            else:
                is_ours = await progress.advance(name_of(state), text_of(state), text_of(after))
            # The transaction takes the events back, too.
            if not is_ours:
                raise _overtaken(state)
        # After the commit: a transaction that lost is repeated from the same place.
        self.state, self._is_over = after, step.is_last
        return step.events

    async def obstacle(self) -> str:
        """Return why the next page has to wait; empty if there is room."""
        # What is over must not wait for a receiver that is behind.
        if self._is_over:
            return ""
        pending = await self.publisher.store.count_pending()
        # Live events are published behind those that are pending.
        if pending > self._limits.pending:
            return f"{pending:,} events in the outbox wait for a relay"
        now = asyncio.get_running_loop().time()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            self._behind = await self._look()
        return self._behind

    async def _look(self) -> str:
        try:
            # A worker of an older release may have begun: a deployment was taken back.
            partitions = await partitions_at(self._broker, self.state.model)
            ready = await require_ready(self._broker, self._to, self._signals, partitions)
            recipients = [Recipient(each.group, each.name) for each in ready]
            behind = await unfinished_by(self._broker, partitions, recipients)
        except BrokerUnavailable as error:
            return f"Redis does not answer: {error}"
        except ConfigurationError as error:
            raise ActionStopped(f"{error}; then continue with --resume") from error
        if behind > self._limits.behind:
            return f"{self._to} has {behind:,} events to finish"
        return ""


def moment() -> str:
    """Return the present time as entries have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _overtaken(state: Unfinished) -> ActionStopped:
    return ActionStopped(
        f"another process has gone on with the {state.kind} of {state.model} to {state.to}: "
        "only one may run at a time"
    )
