"""The values that the outbox store reads and writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed


class PendingRow(NamedTuple):
    """An outbox row that is not in its stream yet. The fields are in the statement's order."""

    id: int
    event_id: str
    signal: str
    subject: str | None
    time: str
    traceparent: str | None
    data: str
    source: str | None = None
    to: str | None = None
    causation: str | None = None
    context: str | None = None


class PageSize(NamedTuple):
    """Limit a page of pending rows: their number, and the bytes of their data."""

    rows: int
    bytes: int


class Incarnations(NamedTuple):
    """The incarnation of the database that an event belongs to, by the event's id.

    Ids up to `since` belong to the former incarnation, later ids to the newest.
    """

    newest: int = 1
    since: int = 0
    former: int = 1

    def of(self, number: int) -> int:
        # The former ones keep their incarnation: their effects behind an inbox have happened.
        return self.newest if number > self.since else self.former


@dataclass(slots=True)
class Pending:
    """The rows to append to a stream next, and the head of the stream; None before the first."""

    head: StreamHead | None
    incarnations: Incarnations
    rows: list[PendingRow] = field(default_factory=list)


class Chunk(NamedTuple):
    """Rows that were appended to a stream which stood at `old` and stands at `new`."""

    partition: Partition
    old: StreamHead
    new: StreamHead
    placed: Placed


class Recognised(NamedTuple):
    """The outbox rows behind some entries of a stream.

    `strangers` is the greatest incarnation among events that this database never had, although it
    gives out ids like theirs; 0 without such events. They prove that the database is an earlier
    state of the database that published them. `newest` is the newest event of each row among the
    entries, by subject, without strangers: after a loss, what followed it comes again.
    """

    placed: Placed
    strangers: int
    newest: Mapping[str, int]


class Repair(NamedTuple):
    """The result of a repair.

    Attributes:
        done: whether database and stream agree now.
        restored: whether the database is an earlier state of the database that published.
        again: the number of finished events that are pending again, because older events of their
            rows came back.
    """

    done: bool
    restored: bool = False
    again: int = 0


class Standing(NamedTuple):
    """The head of a stream, and the entry below which every group has finished."""

    head: StreamHead
    confirmed: EntryId


def strangers_of(pages: Sequence[Recognised]) -> int:
    """Return the greatest incarnation of a stranger in a stream; 0 without strangers."""
    return max((page.strangers for page in pages), default=0)


def newest_of(pages: Sequence[Recognised]) -> dict[str, int]:
    """Return the newest event of each row in a stream, by subject."""
    newest: dict[str, int] = {}
    for page in pages:
        for subject, sequence in page.newest.items():
            newest[subject] = max(sequence, newest.get(subject, 0))
    return newest
