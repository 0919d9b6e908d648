"""Events outside of their stream: dead letters, and the parked events of held rows."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base.values import (
    DeadLetter,
    EntryId,
    HeldState,
    Kept,
    Lease,
    Parked,
    RowKey,
)
from edgy_bus.events import Partition


class SideStreams(ABC):
    """Keep events that a receiver gave up, and the later events of a row that is held for them."""

    @abstractmethod
    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        """Return the oldest dead letters of a group."""

    @abstractmethod
    async def park(
        self,
        lease: Lease,
        row: RowKey,
        letter: DeadLetter,
        kept: Sequence[Kept] = (),
        *,
        begin: bool,
        after: EntryId,
    ) -> EntryId | None:
        """Append an event to the parked events of a row, and save that it is kept, in one step.

        Return the id of the parked event. A parked event stays as it is. `after` is the id of the
        last parked event (`START`: none); events that an operator replays may have come behind.
        With `begin`, hold the row from now on. Without `begin`, do nothing and return None if the
        row is not held.

        Raises `LeaseLost` if the lease is lost, if `after` is not the last parked event, or if the
        broker lacks a proof of `kept`. A broker that was rolled back has lost parked events, which
        come again and have to be parked before this event.
        """

    @abstractmethod
    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        """Return the id of the last parked event for each row that has parked events."""

    @abstractmethod
    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        """Return the held rows of a group.

        No step: a row that is held from the call to its answer is in the answer, with one of the
        states that it had meanwhile; a row that was held for a part of that time may be.
        """

    @abstractmethod
    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        """Return the first parked events of a row."""

    @abstractmethod
    async def newest_parked(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, Parked]:
        """Return the last parked event for each row that has parked events."""

    @abstractmethod
    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        """Change the state of a held row. Raises `LeaseLost`."""

    @abstractmethod
    async def unpark(
        self, lease: Lease, row: RowKey, first: Parked, letter: DeadLetter | None = None
    ) -> bool:
        """Remove the first parked event, which is finished. Return whether more are parked.

        An event that was given up is removed and becomes the dead letter `letter` in one step.
        A row without parked events is no longer held. The next parked event starts with zero
        attempts. Nothing changes if `first` is gone, or if its id belongs to another event since
        the broker lost data. Raises `LeaseLost`.
        """

    @abstractmethod
    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        """Let the owner of the partition retry the parked events of a row that waits.

        With `skip`, move the first parked event to the dead letters. Return False if the row does
        not wait for a decision.
        """
