"""Held rows: which rows receivers hold until an operator decides, and the decision."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgy_bus.brokers.base import Broker, HeldState, RowKey
from edgy_bus.events import Partition, partitions_of


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


@dataclass(frozen=True, slots=True)
class Held:
    """The rows that the receivers of a group hold."""

    group: str
    rows: tuple[HeldRow, ...]

    def select(
        self, *, model: str | None = None, subject: str | None = None, receiver: str | None = None
    ) -> "Held":
        """Return the rows that match every given name."""
        rows = [
            row
            for row in self.rows
            if model in (None, row.model)
            and subject in (None, row.subject)
            and receiver in (None, row.receiver)
        ]
        return Held(self.group, tuple(rows))


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
            rows += [await _row(broker, partition, group, key, states[key]) for key in states]
    return Held(group, tuple(rows))


async def release(broker: Broker, rows: Iterable[HeldRow], *, skip: bool = False) -> Released:
    """Let workers handle the parked events of rows, in order, and end the holding of these rows.

    Args:
        broker: the broker that keeps the parked events.
        rows: rows of a view; rows that wait no longer for a decision are left out of the result.
        skip: move the first parked event of each row, which its receiver gave up, to the dead
            letters.
    """
    released = [row for row in rows if await _decide(broker, row, skip=skip)]
    return Released(tuple(released))


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
