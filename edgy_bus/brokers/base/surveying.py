"""The observer's role: see how far all groups of many streams are, in few round trips."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgy_bus.brokers.base.values import EntryId, Landmark
from edgy_bus.events import Partition

SURVEY = 200
"""Streams of one conversation."""

SEARCH = 500
"""The most entries that one step of a search looks at."""

SEARCH_BYTES = 4_000_000
"""Bytes of entries after which a step of a search ends, so that a script stays short."""


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
        read: entries that the group has read so far; None where the broker does not count them.
        removed: dead letters that were removed so far, because of the limits of the group.
    """

    group: str
    unfinished: int
    unread: int | None
    oldest: EntryId | None
    dead: int
    held: int
    holder: str
    read: int | None = None
    removed: int = 0


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
class GroupAtEntry:
    """Describe how far a group is with an entry.

    Attributes:
        group: the name of the group.
        position: the last entry that the group has read.
        reader: the tenure that has the entry in hand; empty if the entry is unread or finished.
        deliveries: how many tenures have had the unfinished entry in hand.
        notes: the state of the entry's receivers; None without notes.
    """

    # The notes are those of the entry id: a lost event may have had the id before.
    group: str
    position: EntryId
    reader: str
    deliveries: int
    notes: bytes | None


@dataclass(frozen=True, slots=True)
class EntrySurvey:
    """Describe an entry and its groups at one moment.

    Attributes:
        fields: the fields of the entry; empty if the stream does not have the entry.
        groups: the groups that have read the stream.
    """

    fields: Mapping[bytes, bytes]
    groups: Sequence[GroupAtEntry]


class SearchPage(NamedTuple):
    """Hold the matches of a step of a search.

    Attributes:
        landmarks: the entries that match, in the order of the search.
        last: the last entry that the step looked at; None if no entry was left.
        looked_at: the number of entries that the step looked at.
    """

    landmarks: Sequence[Landmark]
    last: EntryId | None
    looked_at: int


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
    async def survey_entry(
        self, partition: Partition, entry: EntryId, *, data: bool = False
    ) -> EntrySurvey:
        """Return an entry, and how far each group of the stream is with the entry, in one step.

        Without `data`, the fields lack the data of the event.
        """

    @abstractmethod
    async def search(
        self,
        partition: Partition,
        text: bytes,
        start: EntryId | None = None,
        count: int = SEARCH,
        *,
        backwards: bool = False,
    ) -> SearchPage:
        """Return the entries whose event header contains `text`, among the next `count` entries.

        The step begins behind `start`, or at the oldest entry; `backwards` before `start`, or at
        the newest entry. The step ends early after `SEARCH_BYTES`. The text may stand in another
        attribute of a header than the caller has in mind, so the caller looks at the headers.
        """

    @abstractmethod
    async def facts(self) -> BrokerFacts:
        """Return the time of the broker, and the settings that matter for its streams."""
