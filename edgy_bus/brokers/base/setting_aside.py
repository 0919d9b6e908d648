"""Receivers that are set aside: their own groups on the same streams, until they have caught up.

A partition is worked by one program of a group, and the group's receivers may be spread over
several programs. A receiver that the tenure of a partition leaves out reads the partition in a
group of its own, GROUP/RECEIVER, whose lease any program with the receiver may take. Dead letters,
held rows and parked events belong to the group and the receiver, wherever the receiver reads.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgy_bus.brokers.base.rostering import Listed
from edgy_bus.brokers.base.values import EntryId, Lease
from edgy_bus.codec import loads
from edgy_bus.errors import EventError
from edgy_bus.events import Partition

MISSING = "missing"
"""The reason of receivers that the program of the tenure does not have."""

PAUSED = "paused"
"""The reason of receivers that an operator has paused, or whose breakers are open."""

BEHIND = "behind"
"""The reason of new receivers that begin with the oldest kept entry."""

SLOW = "slow"
"""The reason of receivers that kept their group from reading on."""

NEAR = 1.0
"""Seconds between the entries that a receiver and its group have read last, within which the
receiver can catch up in a moment: on a busy stream it is always a little behind."""

MOVED = 200
"""Unfinished entries that are moved to a receiver's own group in one call."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Describe a receiver that is set aside from a partition.

    Attributes:
        entry: where the group stood when the receiver was set aside.
        since: when that was, in seconds since 1970 by the broker's clock.
        reason: why the receiver was set aside, a word.
        readable: whether the receiver's own group is complete, so that a tenure may read it.
    """

    entry: EntryId
    since: float
    reason: str
    readable: bool


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Say which receivers take part in a tenure.

    Attributes:
        aside: the receivers that are set aside.
        floors: receivers that came back, and the entry up to which nothing is theirs.
        set_aside: the receivers that this call has set aside.
        returned: the receivers that this call has brought back.
        dropped: the receivers that this call has removed, and how many entries each had not
            finished; None where the broker cannot count.
        more: whether the call is to be repeated before anything is read.
        near: whether a receiver can come back once the tenure reads nothing for a while: it has
            read as much as its group, or nearly (`NEAR`).
    """

    aside: frozenset[str] = frozenset()
    floors: Mapping[str, EntryId] = field(default_factory=dict)
    set_aside: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    dropped: Mapping[str, int | None] = field(default_factory=dict)
    more: bool = False
    near: bool = False


class SettingAside(ABC):
    """Set receivers aside, and bring them back, under the lease of their group."""

    @abstractmethod
    async def arrange(
        self,
        lease: Lease,
        taking_part: Mapping[str, Listed],
        left_out: Mapping[str, Listed],
        forgotten: Collection[str] = (),
        *,
        sets_aside: bool = True,
        reasons: Mapping[str, str] | None = None,
    ) -> Arrangement:
        """Say which receivers take part in a tenure, before the tenure reads.

        A receiver that is left out is set aside: its own group begins where the group stands, with
        the unfinished entries of the group that the receiver has not finished. The tenure must not
        run the receiver any more. A receiver that takes part comes back when its own group has
        finished everything, stands at or beyond the group, and its lease is free.

        A receiver that the partition does not know begins with its `start`. All receivers are known
        to a partition that is arranged for the first time. Receivers that the partition knows, and
        that the caller does not name, are left out.

        `reasons`: why receivers are left out, `PAUSED` or `SLOW`; the others are missing. No call
        of a receiver that is left out may run.

        Without `sets_aside`, only receivers that are set aside already are considered.

        Raises `LeaseLost`. Safe to repeat.
        """

    @abstractmethod
    async def asides(
        self, partitions: Sequence[Partition], group: str
    ) -> Mapping[Partition, Mapping[str, Aside]]:
        """Return the receivers of a group that are set aside, for partitions that have any."""

    @abstractmethod
    async def strangers_to(
        self, partitions: Sequence[Partition], group: str, receiver: str
    ) -> list[Partition]:
        """Return the partitions to which a receiver of a group is not known yet.

        A new receiver begins with events to come. Until a tenure has arranged the partition, events
        that are appended may pass the receiver by. A partition that was never arranged is left
        out: it will know all receivers from its first entry.
        """


def has_finished(note: bytes, event_id: bytes, receiver: str) -> bool:
    """Return whether the note of an entry says that a receiver has finished the event."""
    # The runtime packs notes: the event's id, and for each receiver its attempts, the time of the
    # next attempt, and whether it is done. `arrange.lua` reads the same.
    try:
        subject, states = loads(note)
        return subject == event_id.decode("latin-1") and states[receiver][2] is True
    except (EventError, AttributeError, TypeError, ValueError, LookupError):
        return False
