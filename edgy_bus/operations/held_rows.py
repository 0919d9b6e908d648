"""Held rows: which rows receivers hold until an operator decides, and the decision."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from edgy_bus.brokers.base import ActionEntry, Broker, HeldState, RowKey
from edgy_bus.events import Partition, partitions_of
from edgy_bus.operations.actions import Outcome, operator_name, recorded

T = TypeVar("T")

_AT_ONCE = 16
"""Rows that are looked at or decided about side by side."""


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row that a receiver holds."""

    group: str
    model: str
    """With the service: `accounts.User`."""
    subject: str
    """The key of the row, as text."""
    receiver: str
    reason: str
    """Why the receiver gave up the first parked event."""
    partition: str
    released: bool = False
    """Whether an operator has decided, and workers handle the parked events."""

    def matches(
        self, *, model: str | None = None, subject: str | None = None, receiver: str | None = None
    ) -> bool:
        """Return whether the row has every given name."""
        return (
            model in (None, self.model)
            and subject in (None, self.subject)
            and receiver in (None, self.receiver)
        )


@dataclass(frozen=True, slots=True)
class Held:
    """The rows that the receivers of a group hold."""

    group: str
    rows: tuple[HeldRow, ...]

    def select(
        self, *, model: str | None = None, subject: str | None = None, receiver: str | None = None
    ) -> "Held":
        """Return the rows that match every given name."""
        matching = (
            row for row in self.rows if row.matches(model=model, subject=subject, receiver=receiver)
        )
        return Held(self.group, tuple(matching))


@dataclass(frozen=True, slots=True)
class Released:
    """The rows whose parked events workers handle from now on."""

    rows: tuple[HeldRow, ...]


async def held(broker: Broker, group: str) -> Held:
    """Return the rows that the receivers of a group hold. Only reads."""
    rows: list[HeldRow] = []
    for model, count in (await broker.declared()).items():
        # Streams of pre_* events have no order, so no receiver holds their rows.
        for partition in partitions_of(model, count):
            states = await broker.held(partition, group)
            rows += await _in_pages(
                [partial(_row, broker, partition, group, key, states[key]) for key in states]
            )
    return Held(group, tuple(rows))


async def release(
    broker: Broker, rows: Iterable[HeldRow], *, skip: bool = False, by: str | None = None
) -> Released:
    """Let workers handle the parked events of rows, in order, and end the holding of these rows.

    Args:
        broker: the broker that keeps the parked events.
        rows: rows of a view; rows that wait no longer for a decision are left out of the result.
        skip: move the first parked event of each row, which its receiver gave up, to the dead
            letters.
        by: the operator; by default EDGY_BUS_OPERATOR, or the user and the host.
    """
    chosen = tuple(rows)
    # Nothing was chosen, so there is no action to record.
    if not chosen:
        return Released(())
    entry = ActionEntry(
        operator_name(by),
        "release --skip" if skip else "release",
        group=_names(row.group for row in chosen),
        receiver=_names(row.receiver for row in chosen),
        choice=_in_words(chosen),
    )
    return await recorded(
        broker,
        entry,
        _release(broker, chosen, skip=skip),
        lambda released: Outcome(
            len(released.rows), f"released {len(released.rows)} of {len(chosen)}"
        ),
    )


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _in_words(rows: Sequence[HeldRow]) -> str:
    """Return which rows an action chose, for the log of actions."""
    # Receivers often hold the same row: such rows have a key in common.
    models, subjects = _names(row.model for row in rows), {row.subject for row in rows}
    return f"{models} {rows[0].subject}" if len(subjects) == 1 else f"{len(rows)} rows of {models}"


async def _release(broker: Broker, rows: Sequence[HeldRow], *, skip: bool) -> Released:
    decided = await _in_pages([partial(_decide, broker, row, skip=skip) for row in rows])
    return Released(tuple(row for row, done in zip(rows, decided, strict=True) if done))


async def _in_pages(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make many calls, some of them side by side."""
    answers: list[T] = []
    for at in range(0, len(calls), _AT_ONCE):
        # A gather of all calls would open as many connections as there are held rows.
        page = calls[at : at + _AT_ONCE]
        answers += await asyncio.gather(*(call() for call in page))
    return answers


async def _row(
    broker: Broker, partition: Partition, group: str, key: RowKey, state: HeldState
) -> HeldRow:
    parked = await broker.parked(partition, group, key)
    return HeldRow(
        group=group,
        model=partition.model,
        subject=key.subject,
        receiver=key.receiver,
        reason=parked[0].letter.reason if parked else "",
        partition=partition.name,
        released=state.retrying,
    )


async def _decide(broker: Broker, row: HeldRow, *, skip: bool) -> bool:
    partition = Partition(row.model, row.partition)
    return await broker.decide(partition, row.group, RowKey(row.receiver, row.subject), skip=skip)
