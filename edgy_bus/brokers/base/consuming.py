"""The consumer's role: fetch entries under a lease, and record the results."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base.values import (
    EVERY_LETTER,
    START,
    DeadLetter,
    EntryId,
    Fetched,
    Kept,
    Lease,
    LetterLimits,
)
from edgy_bus.events import Partition

NOBODY: Mapping[str, EntryId] = {}
"""No receiver was left out."""

ANY_SIZE = 2**50
"""As `most_bytes`: no limit."""

OVERSHOOT = 20
"""The most entries that a broker reads before it looks at their size."""


class Bell(ABC):
    """Wait for new entries on streams. Serves one caller at a time."""

    @abstractmethod
    async def wait(
        self, positions: Mapping[Partition, EntryId], timeout: float
    ) -> dict[Partition, EntryId]:
        """Return the first entry after the position, of each partition that has one.

        Return nothing after `timeout` seconds or an `interrupt`.
        """

    @abstractmethod
    async def interrupt(self) -> None:
        """Make the current `wait` return."""

    @abstractmethod
    async def close(self) -> None:
        """Give back the resources of the bell."""


class Consuming(ABC):
    """Read and finish the entries of a group. The role of the lease is the group.

    Every method checks the lease in the step in which the method acts, and raises `LeaseLost` if
    the lease is lost, or if the broker lacks a write that it has confirmed to the tenure. A check
    before the step would let two owners reorder the events of a row.
    """

    @abstractmethod
    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        """Read up to `count` entries. A group that does not exist starts at the oldest entry.

        The read ends once it has `most_bytes` of values, give or take `OVERSHOOT` entries: an entry
        that is larger is read as well, so that it stops nothing.

        With `inherit`, entries that former owners left unfinished come first, oldest first, and
        new entries only after them. `after` is the last entry that this tenure has taken over: the
        broker looks no further back. Other unfinished entries of former owners raise `LeaseLost`:
        they can only have come back with an older copy of the stream.

        The own group of a receiver is read only while the receiver is set aside. It is read no
        further than the group of all once the owner of the partition wants the receiver back.
        """

    @abstractmethod
    async def settle(
        self,
        lease: Lease,
        entries: Sequence[EntryId],
        kept: Sequence[Kept] = (),
        left_out: Mapping[str, EntryId] = NOBODY,
    ) -> None:
        """Finish entries for the group, some of them because an event was `kept`.

        `left_out` are receivers that were left out, each with the greatest entry. Works on a broker
        that is full. Raises `LeaseLost` if the broker lacks the proof of an unfinished entry, or if
        a receiver that was left out is not set aside and has not come back beyond the entry.
        """

    @abstractmethod
    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        """Save notes about entries for the next owner.

        A tenure gives later notes higher numbers. A note with a smaller number than the saved note
        of the entry is left out: a call that got no answer in time may be executed after others.

        Raises `LeaseLost` if the broker lacks a proof of `kept`.
        """

    @abstractmethod
    async def bury(
        self,
        lease: Lease,
        letter: DeadLetter,
        kept: Sequence[Kept] = (),
        limits: LetterLimits = EVERY_LETTER,
    ) -> int:
        """Save a dead letter, and that it is kept, in one step. A saved letter stays as it is.

        In the same step, the oldest letters beyond `limits` are removed and counted: `REMOVED`
        letters at most, or fewer large letters. The next burials remove the rest. The new letter
        stays. Return how many letters were removed.

        Raises `LeaseLost` if the broker lacks a proof of `kept`.
        """

    @abstractmethod
    def bell(self) -> Bell:
        """Return a new bell for the streams of this broker."""
