"""Dead letters: why receivers gave events up, and the replay or the end of these events.

A replayed letter moves to the parked events of its row, and the owner of the partition handles it
like the events of a released row: the row's letters in order, and before the events that the row
gets meanwhile. The move is one step, so that no letter is lost or doubled by a crash, by a second
operator, or by a command that is repeated.
"""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from edgy_bus.brokers.base import START, Broker, Buried, DeadLetter, EntryId, RowKey
from edgy_bus.codec import Envelope, unpack
from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.events import Partition
from edgy_bus.operations.surveys import surveyed

MOST_FAILURES = 1_000
"""Failures of a view; the letters of further failures are counted as one."""

OTHERS = "other reasons"

Progress = Callable[[int], None]
"""Called with the number of letters that an action has looked at since the last call."""


def _in_silence(_: int) -> None: ...


_ADDRESS = re.compile(r"([^/]+)/([^/]+)/([^/]+)/(\d+)-(\d+)")

_VARIABLE = re.compile(
    r"""
    '[^']*' | "[^"]*"                      # what a text quotes
    | \b[0-9a-f]{8}-[0-9a-f-]{27}\b        # a UUID
    | 0x[0-9a-f]+ | \b[0-9a-f]{16,}\b      # an address, a digest
    | \d+(?:[.,:]\d+)*                     # a number, a time
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Parts of a reason that differ from letter to letter of one failure."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, without the data of its event."""

    id: str
    """GROUP/MODEL/PARTITION/ID: names the letter in every command."""
    group: str
    model: str
    partition: str
    receiver: str
    """`*` for an entry that is not an event of this library."""
    signal: str | None
    subject: str | None
    """The key of the row."""
    event_id: str | None
    reason: str
    fingerprint: str
    """The same for all letters of one failure: numbers and quoted values do not count."""
    attempts: int
    buried: datetime
    """When the receiver gave the event up, by the broker's clock."""
    size: int
    """Bytes of the event."""


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """A dead letter with the fields of its event.

    Attributes:
        letter: the letter.
        fields: the fields that are text.
        binary: the fields that are not UTF-8, as base64.
    """

    letter: Letter
    fields: Mapping[str, str]
    binary: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """The letters of one receiver with the same fingerprint."""

    group: str
    model: str
    receiver: str
    fingerprint: str
    reason: str
    """The reason of the newest letter."""
    count: int
    size: int
    first: datetime
    last: datetime
    example: str
    """The id of the newest letter."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The dead letters that match a filter, by failure."""

    failures: tuple[Failure, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Choose letters: those that match every given value.

    Attributes:
        group, receiver, model, subject, fingerprint: exact values; None for all.
        since, until: when the receiver gave the event up.
        ids: the ids of the letters; None for all.
    """

    group: str | None = None
    receiver: str | None = None
    model: str | None = None
    subject: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] | None = None

    def matches(self, letter: Letter) -> bool:
        """Return whether a letter has every given value."""
        is_chosen = self.ids is None or letter.id in self.ids
        return is_chosen and self._names(letter) and self._has_time(letter.buried)

    def _names(self, letter: Letter) -> bool:
        return (
            self.group in (None, letter.group)
            and self.receiver in (None, letter.receiver)
            and self.model in (None, letter.model)
            and self.subject in (None, letter.subject)
            and self.fingerprint in (None, letter.fingerprint)
        )

    def _has_time(self, buried: datetime) -> bool:
        is_late = self.since is None or buried >= self.since
        return is_late and (self.until is None or buried <= self.until)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the letters of a replay.

    Attributes:
        matching: letters that matched the selection.
        replayed: letters that workers handle from now on.
        waiting: letters that stayed, because their row is held and waits for a decision.
        foreign: letters that stayed, because they are not events of this library.
    """

    matching: int = 0
    replayed: int = 0
    waiting: int = 0
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class Discarded:
    """How many letters matched, and how many were removed."""

    matching: int = 0
    discarded: int = 0


@dataclass(frozen=True, slots=True)
class _Source:
    """The dead letters of a group on a stream."""

    partition: Partition
    group: str
    count: int


@dataclass(frozen=True, slots=True)
class _Page:
    """Some letters of a source that match a selection, and how many were looked at."""

    source: _Source
    looked_at: int
    letters: Sequence[tuple[Buried, Letter]]


@dataclass(slots=True)
class _Rows:
    """Letters by their row, in the order of the row's events."""

    rows: dict[RowKey, list[tuple[tuple[int, int], EntryId]]] = field(default_factory=dict)

    def add(self, buried: Buried, envelope: Envelope) -> None:
        # An event without a row, and an intent (`pre_*`), is alone: no other event waits for it.
        # The NUL keeps such a letter apart from the row of the same key.
        alone = envelope.subject is None or envelope.sequence is None
        subject = f"\0{envelope.id}" if alone else envelope.subject or ""
        # As an inbox compares events of a row.
        number = (envelope.incarnation, envelope.sequence or 0)
        key = RowKey(buried.letter.receiver, subject)
        self.rows.setdefault(key, []).append((number, buried.id))

    def in_order(self) -> dict[RowKey, list[EntryId]]:
        return {key: [entry for _, entry in sorted(row)] for key, row in self.rows.items()}


# Views


async def dead(broker: Broker, selection: Selection) -> Dead:
    """Return the dead letters that match, by failure, the newest failure first. Only reads.

    Memory grows with the number of failures, and not with the number of letters.
    """
    failures: dict[tuple[str, ...], Failure] = {}
    count = 0
    async for page in _pages(broker, selection):
        for _, letter in page.letters:
            count += 1
            _count(failures, letter)
    newest_first = sorted(failures.values(), key=lambda failure: failure.last, reverse=True)
    return Dead(tuple(newest_first), count)


async def list_dead(broker: Broker, selection: Selection) -> AsyncIterator[Letter]:
    """Yield the dead letters that match, stream by stream, oldest first. Only reads."""
    async for page in _pages(broker, selection):
        for _, letter in page.letters:
            yield letter


async def export_dead(broker: Broker, selection: Selection) -> AsyncIterator[ShownLetter]:
    """Yield the dead letters that match, with the data of their events. Only reads."""
    async for page in _pages(broker, selection, data=True):
        for buried, letter in page.letters:
            yield _shown(buried, letter)


async def dead_letter(broker: Broker, address: str, *, data: bool) -> ShownLetter | None:
    """Return a dead letter by its id; None if there is no such letter. Only reads.

    Args:
        broker: the broker that keeps the letter.
        address: the id, GROUP/MODEL/PARTITION/ID.
        data: whether the data of the event is wanted, which contains values of a row.

    Raises:
        ConfigurationError: for an id that is no id.
    """
    group, partition, entry = read_address(address)
    page = await broker.letters(partition, group, _before(entry), 1, data=data)
    for buried in page.letters:
        # The letter may be gone, and then the next one is here.
        if buried.id == entry:
            return _shown(buried, _letter(partition, group, buried))
    return None


def read_address(address: str) -> tuple[str, Partition, EntryId]:
    """Return group, stream and entry of a letter's id. Raises `ConfigurationError`."""
    # Names of groups and models contain no slash.
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ConfigurationError(
            f"{address!r} is not the id of a dead letter, GROUP/MODEL/PARTITION/ID: "
            "`edgy-bus dead list --letters` shows the ids"
        )
    group, model, name, ms, seq = parts.groups()
    return group, Partition(model, name), EntryId(int(ms), int(seq))


# Actions


async def replay_dead(
    broker: Broker, selection: Selection, progress: Progress = _in_silence
) -> Replayed:
    """Let workers handle the dead letters that match, in the order of their rows.

    Letters that are given up again are dead letters again, later in line: this call passes them
    over. An interrupted call is completed by another call with the same selection.
    """
    result = Replayed()
    async for page in _pages(broker, selection):
        result = _sum(result, await _replay_page(broker, page))
        progress(page.looked_at)
    return result


async def discard_dead(
    broker: Broker, selection: Selection, progress: Progress = _in_silence
) -> Discarded:
    """Remove the dead letters that match. Nothing brings them back."""
    matching = discarded = 0
    async for page in _pages(broker, selection):
        ids = [buried.id for buried, _ in page.letters]
        # A letter that another operator has replayed in the meantime is not counted.
        if ids:
            source = page.source
            discarded += await broker.discard(source.partition, source.group, ids)
        matching += len(ids)
        progress(page.looked_at)
    return Discarded(matching, discarded)


async def count_dead(broker: Broker, selection: Selection) -> int:
    """Return how many letters an action has to look at. Only reads."""
    return sum(source.count for source in await _sources(broker, selection))


async def _replay_page(broker: Broker, page: _Page) -> Replayed:
    source, rows, foreign = page.source, _Rows(), 0
    for buried, _ in page.letters:
        envelope = _envelope(buried.letter)
        if envelope is None:
            foreign += 1
        else:
            rows.add(buried, envelope)
    in_order = rows.in_order()
    # An entry that is no event was given up for the whole group: no receiver would handle it.
    if not in_order:
        return Replayed(len(page.letters), foreign=foreign)
    # One step for each row: a crash in between leaves whole rows, and the next command the others.
    moved = await broker.replay_all(source.partition, source.group, in_order)
    # After each page: a command that is interrupted leaves no replayed letter without a worker.
    await broker.nudge(source.group)
    waiting = sum(
        len(row) for row, count in zip(in_order.values(), moved, strict=True) if count is None
    )
    return Replayed(len(page.letters), sum(filter(None, moved)), waiting, foreign)


def _sum(result: Replayed, page: Replayed) -> Replayed:
    return Replayed(
        result.matching + page.matching,
        result.replayed + page.replayed,
        result.waiting + page.waiting,
        result.foreign + page.foreign,
    )


# Reading


async def _sources(broker: Broker, selection: Selection) -> list[_Source]:
    """Return the streams and groups that may have letters of a selection."""
    # With ids, only the streams of these letters are read.
    addresses = None
    if selection.ids is not None:
        addresses = {read_address(address)[:2] for address in selection.ids}
    sources = []
    async for stream in surveyed(broker, await broker.declared(), selection.model):
        groups = {group.group: group.dead for group in stream.groups}
        if selection.group is not None:
            count = groups.get(selection.group)
            if count is None:
                # A group that was forgotten reads the stream no more, and its letters stay.
                count = await _counted(broker, stream.partition, selection.group)
            groups = {selection.group: count}
        sources += [
            _Source(stream.partition, group, count)
            for group, count in groups.items()
            if count and (addresses is None or (group, stream.partition) in addresses)
        ]
    return sources


async def _counted(broker: Broker, partition: Partition, group: str) -> int:
    count, after = 0, START
    while True:
        page = await broker.letters(partition, group, after)
        count += len(page.letters)
        if not page.more:
            return count
        after = page.letters[-1].id


async def _pages(
    broker: Broker, selection: Selection, *, data: bool = False
) -> AsyncIterator[_Page]:
    """Yield the letters that match, page by page."""
    # Ids begin with the time of the burial, so that earlier letters need not be read.
    since = START
    if selection.since is not None:
        since = _before(EntryId(int(selection.since.timestamp() * 1000), 0))
    for source in await _sources(broker, selection):
        after, remaining = since, source.count
        # A letter that is replayed and given up again comes last. Bounded by the number of letters
        # at the beginning, an action does not meet its own letters again.
        while remaining > 0:
            page = await broker.letters(source.partition, source.group, after, data=data)
            buried = page.letters[:remaining]
            if not buried:
                # Other operators have removed letters in the meantime.
                break
            after, remaining = buried[-1].id, remaining - len(buried)
            letters = [(each, _letter(source.partition, source.group, each)) for each in buried]
            matching = [pair for pair in letters if selection.matches(pair[1])]
            yield _Page(source, len(buried), matching)


def _before(entry: EntryId) -> EntryId:
    """Return the id before an id."""
    if entry.seq:
        return EntryId(entry.ms, entry.seq - 1)
    return EntryId(entry.ms - 1, 2**63 - 1) if entry.ms else START


def _envelope(letter: DeadLetter) -> Envelope | None:
    """Return the event of a letter; None if the letter is not an event."""
    # The data is not read, and need not be here. Workers have checked the event before.
    try:
        return unpack({b"data": b"", **letter.fields}) if letter.receiver != "*" else None
    except EventError:
        return None


def _letter(partition: Partition, group: str, buried: Buried) -> Letter:
    letter, envelope = buried.letter, _envelope(buried.letter)
    event_id = letter.fields.get(b"id", b"").decode("utf-8", "replace")
    # The clock of the broker, by which all letters are ordered: those of programs may differ.
    return Letter(
        id=f"{group}/{partition.model}/{partition.name}/{buried.id}",
        group=group,
        model=partition.model,
        partition=partition.name,
        receiver=letter.receiver,
        signal=None if envelope is None else envelope.signal,
        subject=None if envelope is None else envelope.subject,
        event_id=event_id or None,
        reason=letter.reason,
        fingerprint=fingerprint(letter.reason),
        attempts=letter.attempts,
        buried=datetime.fromtimestamp(buried.id.ms / 1000, UTC),
        size=buried.size,
    )


def _shown(buried: Buried, letter: Letter) -> ShownLetter:
    # Another program may have written any bytes, and an export must not change them.
    text, binary = {}, {}
    for raw_name, value in buried.letter.fields.items():
        name = raw_name.decode("utf-8", "replace")
        try:
            text[name] = value.decode()
        except UnicodeDecodeError:
            binary[name] = base64.b64encode(value).decode()
    return ShownLetter(letter, text, binary)


def fingerprint(reason: str) -> str:
    """Return eight characters that are the same for all reasons of one kind."""
    kind = _VARIABLE.sub("?", reason)
    return hashlib.sha256(kind.encode("utf-8", "replace")).hexdigest()[:8]


def _count(failures: dict[tuple[str, ...], Failure], letter: Letter) -> None:
    """Add a letter to its failure."""
    key = (letter.group, letter.model, letter.receiver, letter.fingerprint)
    failure = failures.get(key)
    if failure is None and len(failures) >= MOST_FAILURES:
        # Reasons that differ in words would fill the memory.
        letter = replace(letter, fingerprint="", reason=OTHERS)
        key = (letter.group, letter.model, letter.receiver, "")
        failure = failures.get(key)
    if failure is None:
        failure = _failure(letter, 0, 0, letter.buried)
    # Streams are read one after another, so a later letter may have been buried earlier.
    newer = letter.buried >= failure.last
    newest = _failure(letter, 0, 0, failure.first) if newer else failure
    failures[key] = replace(
        newest,
        count=failure.count + 1,
        size=failure.size + letter.size,
        first=min(failure.first, letter.buried),
    )


def _failure(letter: Letter, count: int, size: int, first: datetime) -> Failure:
    return Failure(
        group=letter.group,
        model=letter.model,
        receiver=letter.receiver,
        fingerprint=letter.fingerprint,
        reason=letter.reason,
        count=count,
        size=size,
        first=first,
        last=letter.buried,
        example=letter.id,
    )


def selection_of_ids(ids: Iterable[str]) -> Selection:
    """Return the selection of these letters. Raises `ConfigurationError` for what is no id."""
    chosen = frozenset(ids)
    for address in chosen:
        read_address(address)
    return Selection(ids=chosen)
