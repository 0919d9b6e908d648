"""Show dead letters, let workers handle their events again, or remove the letters.

A replayed letter moves to the parked events of its row, and the owner of the partition handles it
like the events of a released row: the row's letters in order, and before the events that the row
gets meanwhile. The move is one step, so that no letter is lost or doubled by a crash, by a second
operator, or by a command that is repeated.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from edgy_bus.brokers.base import ActionEntry, Broker, Buried, EntryId, RowKey
from edgy_bus.codec import Envelope
from edgy_bus.operations.actions import Outcome, operator_name, recorded
from edgy_bus.operations.letter_pages import MatchingLetters, before, letter_streams, pages_of
from edgy_bus.operations.letters import (
    Letter,
    Selection,
    ShownLetter,
    event_of,
    in_words,
    letter_of,
    read_address,
    shown,
)

Progress = Callable[[int], None]
"""Called with the number of letters that an action has looked at since the last call."""


def _in_silence(_: int) -> None: ...


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


async def list_dead(broker: Broker, selection: Selection) -> AsyncIterator[Letter]:
    """Yield the dead letters that match, stream by stream, oldest first. Only reads."""
    async for page in pages_of(broker, selection):
        for _, letter in page.letters:
            yield letter


async def export_dead(broker: Broker, selection: Selection) -> AsyncIterator[ShownLetter]:
    """Yield the dead letters that match, with the data of their events. Only reads."""
    async for page in pages_of(broker, selection, data=True):
        for buried, letter in page.letters:
            yield shown(buried, letter)


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
    page = await broker.letters(partition, group, before(entry), 1, data=data)
    for buried in page.letters:
        # The letter may be gone, and then the next one is here.
        if buried.id == entry:
            return shown(buried, letter_of(partition, group, buried))
    return None


# Actions


async def replay_dead(
    broker: Broker,
    selection: Selection,
    progress: Progress = _in_silence,
    *,
    by: str | None = None,
) -> Replayed:
    """Let workers handle the dead letters that match, in the order of their rows.

    Letters that are given up again are dead letters again, later in line: this call passes them
    over. An interrupted call is completed by another call with the same selection. `by` is
    the operator, by default EDGY_BUS_OPERATOR, or the user and the host.
    """
    entry = _entry("dead replay", selection, by)
    return await recorded(broker, entry, _replay(broker, selection, progress), _replay_outcome)


async def _replay(broker: Broker, selection: Selection, progress: Progress) -> Replayed:
    result = Replayed()
    async for page in pages_of(broker, selection):
        result = _sum(result, await _replay_page(broker, page))
        progress(page.looked_at)
    return result


async def discard_dead(
    broker: Broker,
    selection: Selection,
    progress: Progress = _in_silence,
    *,
    by: str | None = None,
) -> Discarded:
    """Remove the dead letters that match. Nothing brings them back. `by` as for `replay_dead`."""
    return await recorded(
        broker,
        _entry("dead discard", selection, by),
        _discard(broker, selection, progress),
        lambda done: Outcome(done.discarded, f"discarded {done.discarded} of {done.matching}"),
    )


def _entry(action: str, selection: Selection, by: str | None) -> ActionEntry:
    return ActionEntry(
        operator_name(by),
        action,
        group=selection.group or "",
        receiver=selection.receiver or "",
        choice=in_words(selection),
    )


def _replay_outcome(done: Replayed) -> Outcome:
    # What stays is why the operator comes back, so the log names the reasons.
    result = f"replayed {done.replayed} of {done.matching}"
    if done.waiting:
        result += f"; {done.waiting} stay: their rows are held"
    if done.foreign:
        result += f"; {done.foreign} stay: no event of this library"
    return Outcome(done.replayed, result)


async def _discard(broker: Broker, selection: Selection, progress: Progress) -> Discarded:
    matching = discarded = 0
    async for page in pages_of(broker, selection):
        ids = [buried.id for buried, _ in page.letters]
        # A letter that another operator has replayed in the meantime is not counted.
        if ids:
            stream = page.stream
            discarded += await broker.discard(stream.partition, stream.group, ids)
        matching += len(ids)
        progress(page.looked_at)
    return Discarded(matching, discarded)


async def count_dead(broker: Broker, selection: Selection) -> int:
    """Return how many letters an action has to look at. Only reads."""
    return sum(stream.count for stream in await letter_streams(broker, selection))


async def _replay_page(broker: Broker, page: MatchingLetters) -> Replayed:
    stream, rows, foreign = page.stream, _Rows(), 0
    for buried, _ in page.letters:
        envelope = event_of(buried.letter)
        if envelope is None:
            foreign += 1
        else:
            rows.add(buried, envelope)
    in_order = rows.in_order()
    # An entry that is no event was given up for the whole group: no receiver would handle it.
    if not in_order:
        return Replayed(len(page.letters), foreign=foreign)
    # One step for each row: a crash in between leaves whole rows, and the next command the others.
    moved = await broker.replay_all(stream.partition, stream.group, in_order)
    # After each page: a command that is interrupted leaves no replayed letter without a worker.
    await broker.nudge(stream.group)
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
