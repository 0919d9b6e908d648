"""The observer's role: see how far all groups of many streams are, in few round trips."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgy_bus.brokers.base.values import EntryId
from edgy_bus.events import Partition

SURVEY = 200
"""Streams of one conversation."""


@dataclass(frozen=True, slots=True)
class GroupSurvey:
    """Describe how far a group of a stream is.

    Attributes:
        group: the name of the group.
        unfinished: entries that are read and unfinished.
        unread: entries that are not read; None where the broker cannot count them.
        oldest: the oldest entry that the group has not finished; None if there is no such entry.
        dead: dead letters.
        held: rows that receivers hold, or that are being released.
        holder: the tenure that holds the lease; empty if no worker has the partition.
    """

    group: str
    unfinished: int
    unread: int | None
    oldest: EntryId | None
    dead: int
    held: int
    holder: str


@dataclass(frozen=True, slots=True)
class StreamSurvey:
    """Describe a stream and its groups at one moment.

    Attributes:
        partition: the stream.
        now: the time of the broker's clock, in milliseconds since 1970.
        entries: entries of the stream.
        size: bytes of memory that the stream takes; None where the broker does not say.
        groups: the groups that have read the stream.
        asides: the own groups of receivers that are set aside, by names like `mail/app.send`.
    """

    # With each stream: a view of many streams takes a while, and ages are differences.
    partition: Partition
    now: int
    entries: int
    size: int | None
    groups: Sequence[GroupSurvey]
    asides: Sequence[GroupSurvey] = ()


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """Describe the server of a broker.

    Attributes:
        now: the time of the broker's clock, in seconds since 1970.
        settings: what the server says of itself, by the names of Redis's INFO; empty if the server
            says nothing.
    """

    now: float
    settings: Mapping[str, str] = field(default_factory=dict)


class Surveying(ABC):
    """Look at streams and their groups. Needs no lease, and changes nothing."""

    @abstractmethod
    async def survey(self, partitions: Sequence[Partition]) -> Sequence[StreamSurvey]:
        """Return the state of each stream. Each stream is one step; all together are not."""

    @abstractmethod
    async def facts(self) -> BrokerFacts:
        """Return the time of the broker, and the settings that matter for its streams."""
