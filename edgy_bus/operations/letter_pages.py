"""Read the dead letters of a broker: the streams that have some, page by page."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from edgy_bus.brokers.base import START, Broker, Buried, EntryId
from edgy_bus.events import Partition
from edgy_bus.operations.letters import Letter, Selection, letter_of, read_address
from edgy_bus.operations.surveys import surveyed


@dataclass(frozen=True, slots=True)
class LetterStream:
    """The dead letters of a group on a stream.

    `removed`: the letters that were removed so far, because of the limits of the group's workers.
    """

    partition: Partition
    group: str
    count: int
    removed: int = 0


@dataclass(frozen=True, slots=True)
class MatchingLetters:
    """Some letters of a stream that match a selection, and how many were looked at."""

    stream: LetterStream
    looked_at: int
    letters: Sequence[tuple[Buried, Letter]]


async def letter_streams(broker: Broker, selection: Selection) -> list[LetterStream]:
    """Return the streams and groups that may have, or have had, letters of a selection."""
    # With ids, only the streams of these letters are read.
    addresses = None
    if selection.ids is not None:
        addresses = {read_address(address)[:2] for address in selection.ids}
    streams = []
    async for survey in surveyed(broker, await broker.declared(), selection.model):
        groups = {group.group: (group.dead, group.removed) for group in survey.groups}
        if selection.group is not None:
            counts = groups.get(selection.group)
            if counts is None:
                # A group that was forgotten reads the stream no more, and its letters stay.
                counts = (await _counted(broker, survey.partition, selection.group), 0)
            groups = {selection.group: counts}
        streams += [
            LetterStream(survey.partition, group, *counts)
            for group, counts in groups.items()
            if any(counts) and (addresses is None or (group, survey.partition) in addresses)
        ]
    return streams


async def pages_of(
    broker: Broker, selection: Selection, *, data: bool = False
) -> AsyncIterator[MatchingLetters]:
    """Yield the letters that match, page by page."""
    streams = await letter_streams(broker, selection)
    async for page in pages_in(broker, streams, selection, data=data):
        yield page


async def pages_in(
    broker: Broker, streams: Sequence[LetterStream], selection: Selection, *, data: bool = False
) -> AsyncIterator[MatchingLetters]:
    """Yield the letters of these streams that match, page by page."""
    # Ids begin with the time of the burial, so that earlier letters need not be read.
    since = START
    if selection.since is not None:
        since = before(EntryId(int(selection.since.timestamp() * 1000), 0))
    for stream in streams:
        after, remaining = since, stream.count
        # A letter that is replayed and given up again comes last. Bounded by the number of letters
        # at the beginning, an action does not meet its own letters again.
        while remaining > 0:
            page = await broker.letters(stream.partition, stream.group, after, data=data)
            buried = page.letters[:remaining]
            if not buried:
                # Other operators have removed letters in the meantime.
                break
            after, remaining = buried[-1].id, remaining - len(buried)
            letters = [(each, letter_of(stream.partition, stream.group, each)) for each in buried]
            matching = [pair for pair in letters if selection.matches(pair[1])]
            yield MatchingLetters(stream, len(buried), matching)


async def _counted(broker: Broker, partition: Partition, group: str) -> int:
    count, after = 0, START
    while True:
        page = await broker.letters(partition, group, after)
        count += len(page.letters)
        if not page.more:
            return count
        after = page.letters[-1].id


def before(entry: EntryId) -> EntryId:
    """Return the id before an id."""
    if entry.seq:
        return EntryId(entry.ms, entry.seq - 1)
    return EntryId(entry.ms - 1, 2**63 - 1) if entry.ms else START
