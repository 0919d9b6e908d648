"""Look for events at a broker: in streams, among dead letters and parked events.

Every search is bounded, and its answer says whether the search reached the end. Only reads.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgy_bus.brokers.base import (
    SEARCH,
    START,
    Broker,
    EntryId,
    GroupSurvey,
    HeldState,
    Landmark,
    Parked,
    RowKey,
    StreamSurvey,
)
from edgy_bus.codec import Envelope, dumps, unpack
from edgy_bus.errors import EventError
from edgy_bus.events import Partition
from edgy_bus.operations.journeys import EventSummary, ParkedEvent, event_in_stream
from edgy_bus.operations.letter_pages import before
from edgy_bus.operations.letters import Letter, event_of, letter_of

STREAM_ENTRIES = 5_000
"""Entries of a stream that a search looks at."""

ALL_ENTRIES = 100_000
"""Entries of all streams together after which a search begins no further stream."""

LETTERS = 5_000
"""Dead letters of a group on a stream that a search looks at."""

HELD_ROWS = 500
"""Held rows of a group on a stream whose parked events a search looks at."""

PARKED = 50
"""Parked events of a row that a search looks at."""

_AT_ONCE = 16
"""Streams that are searched side by side."""


class Met(NamedTuple):
    """An event, and the entry where a search has met it."""

    event: EventSummary
    entry: EntryId


class MetAll(NamedTuple):
    """The events that a search has met, and whether the search has looked at every entry."""

    events: list[Met]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class SideEvents:
    """The dead letters and parked events that match.

    Attributes:
        letters: the letters with their events.
        parked: the parked events with their events.
        gaps: sentences about letters and parked events that were not looked at.
    """

    letters: Sequence[tuple[EventSummary, Letter]]
    parked: Sequence[tuple[EventSummary, ParkedEvent]]
    gaps: Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Say which events a search wants.

    Attributes:
        event_id: the event; None for all events of the row.
        subject: the key of the row; None if unknown, or for an event without a row.
        model: the model; None if unknown.
    """

    event_id: str | None = None
    subject: str | None = None
    model: str | None = None

    def matches(self, event: EventSummary) -> bool:
        """Return whether an event is wanted."""
        return (
            self.event_id in (None, event.id)
            and self.subject in (None, event.subject)
            and self.model in (None, event.model)
        )

    def may_be_in(self, row: RowKey) -> bool:
        """Return whether a wanted event may be parked for a row."""
        # A replayed event without a row has a key of its own, which begins with NUL.
        return self.subject in (None, row.subject) or row.subject.startswith("\0")


async def search_all(
    broker: Broker, partitions: Sequence[Partition], text: str, since: EntryId
) -> MetAll:
    """Return the events of streams whose header contains a JSON text, oldest entries first.

    Args:
        broker: the broker.
        partitions: the streams, those first that matter most.
        text: the text, which is looked for as JSON spells it.
        since: the entry behind which the search begins in every stream.
    """
    events: list[Met] = []
    looked_at, is_complete = 0, True
    for at in range(0, len(partitions), _AT_ONCE):
        # Between pages: every stream of a page is searched, so the streams of a small system are
        # searched in any case.
        if looked_at >= ALL_ENTRIES:
            return MetAll(events, is_complete=False)
        page = partitions[at : at + _AT_ONCE]
        streams = await asyncio.gather(*(_search(broker, each, text, since) for each in page))
        for met, count, is_whole in streams:
            events += met
            looked_at += count
            is_complete = is_complete and is_whole
    return MetAll(events, is_complete)


async def newest_of_row(broker: Broker, partition: Partition, subject: str, limit: int) -> MetAll:
    """Return the newest events of a row in its stream, at most `limit`, oldest first."""
    # Headers are compact JSON. A header of another program may have the text inside of another
    # attribute, so the subjects are compared below.
    text = b'"subject":' + dumps(subject)
    events: list[Met] = []
    at: EntryId | None = None
    for _ in range(STREAM_ENTRIES // SEARCH):
        page = await broker.search(partition, text, at, backwards=True)
        met = events_at(partition, page.landmarks)
        events += [each for each in met if each.event.subject == subject]
        if page.last is None:
            return MetAll(events[:limit][::-1], is_complete=len(events) <= limit)
        # Enough, and whether older events follow is not known.
        if len(events) >= limit:
            break
        at = page.last
    return MetAll(events[:limit][::-1], is_complete=False)


async def side_events(
    broker: Broker, streams: Iterable[StreamSurvey], since: EntryId, wanted: Wanted
) -> SideEvents:
    """Return the dead letters and parked events of some streams that match.

    Args:
        broker: the broker.
        streams: the streams, with their groups.
        since: letters that were buried earlier are not looked at.
        wanted: the events.
    """
    letters: list[tuple[EventSummary, Letter]] = []
    parked: list[tuple[EventSummary, ParkedEvent]] = []
    gaps: list[str] = []
    for stream in streams:
        for group in stream.groups:
            where = f"{stream.partition}, group {group.group}"
            # The survey has counted: groups without letters and held rows cost no question.
            if group.dead:
                matching, is_complete = await _letters(
                    broker, stream.partition, group, since, wanted
                )
                letters += matching
                if not is_complete:
                    gaps.append(f"{where}: more dead letters than {LETTERS:,} were not looked at")
            if group.held:
                waiting, is_complete = await _parked(broker, stream.partition, group, wanted)
                parked += waiting
                if not is_complete:
                    gaps.append(f"{where}: not all parked events were looked at")
    return SideEvents(letters, parked, gaps)


async def _search(
    broker: Broker, partition: Partition, text: str, since: EntryId
) -> tuple[list[Met], int, bool]:
    """Return the events of a stream, the number of entries looked at, and whether that was all."""
    # As JSON spells the text, without the quotes around.
    raw = dumps(text)[1:-1]
    events: list[Met] = []
    at, looked_at = since, 0
    while looked_at < STREAM_ENTRIES:
        page = await broker.search(partition, raw, at)
        events += events_at(partition, page.landmarks)
        looked_at += page.looked_at
        if page.last is None:
            return events, looked_at, True
        at = page.last
    return events, looked_at, False


def events_at(partition: Partition, landmarks: Sequence[Landmark]) -> list[Met]:
    """Return the events of landmarks; entries of other programs are left out."""
    events = []
    for landmark in landmarks:
        # Any program with the password may have written the entry.
        try:
            envelope: Envelope = unpack({b"head": landmark.header, b"data": b""})
        except EventError:
            continue
        events.append(Met(event_in_stream(envelope, partition), landmark.entry))
    return events


async def _letters(
    broker: Broker, partition: Partition, group: GroupSurvey, since: EntryId, wanted: Wanted
) -> tuple[list[tuple[EventSummary, Letter]], bool]:
    letters: list[tuple[EventSummary, Letter]] = []
    after, looked_at = since, 0
    while looked_at < LETTERS:
        page = await broker.letters(partition, group.group, after)
        for buried in page.letters:
            envelope = event_of(buried.letter)
            event = None if envelope is None else event_in_stream(envelope, partition)
            if event is not None and wanted.matches(event):
                letters.append((event, letter_of(partition, group.group, buried)))
        # Other operators may have removed the letters that followed.
        if not page.more or not page.letters:
            return letters, True
        after, looked_at = page.letters[-1].id, looked_at + len(page.letters)
    return letters, False


async def _parked(
    broker: Broker, partition: Partition, group: GroupSurvey, wanted: Wanted
) -> tuple[list[tuple[EventSummary, ParkedEvent]], bool]:
    events: list[tuple[EventSummary, ParkedEvent]] = []
    states = await broker.held(partition, group.group)
    rows = [key for key in states if wanted.may_be_in(key)]
    # With a known row, one or two receivers hold the row; without, all rows are candidates.
    is_complete = len(rows) <= HELD_ROWS
    for key in rows[:HELD_ROWS]:
        parked = await broker.parked(partition, group.group, key, PARKED)
        is_complete = is_complete and len(parked) < PARKED
        for number, each in enumerate(parked, 1):
            envelope = event_of(each.letter)
            event = None if envelope is None else event_in_stream(envelope, partition)
            if event is not None and wanted.matches(event):
                view = _parked_event(group.group, key, number, states[key], each)
                events.append((event, view))
    return events, is_complete


def _parked_event(
    group: str, key: RowKey, number: int, state: HeldState, parked: Parked
) -> ParkedEvent:
    return ParkedEvent(
        group=group,
        receiver=key.receiver,
        number=number,
        released=state.retrying,
        # The state of a row counts the attempts of its first event.
        attempts=state.attempts if number == 1 else 0,
        reason=parked.letter.reason,
        replayed=parked.replayed,
    )


def entry_before(ms: int | None) -> EntryId:
    """Return the entry behind which entries from a time on stand; None: all entries."""
    return START if ms is None or ms < 0 else before(EntryId(ms, 0))
