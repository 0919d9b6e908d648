"""Dead letters by failure: letters of the same receiver with the same kind of reason."""

from dataclasses import dataclass, replace
from datetime import datetime

from edgy_bus.brokers.base import Broker
from edgy_bus.operations.letter_pages import letter_streams, pages_in
from edgy_bus.operations.letters import Letter, Selection

MOST_FAILURES = 1_000
"""Failures of a view; the letters of further failures are counted as one."""

OTHERS = "other reasons"


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
    removed: int = 0
    """Letters that were removed so far because of the limits of workers, of all receivers."""


async def dead(broker: Broker, selection: Selection) -> Dead:
    """Return the dead letters that match, by failure, the newest failure first. Only reads.

    Memory grows with the number of failures, and not with the number of letters.
    """
    failures: dict[tuple[str, ...], Failure] = {}
    count = 0
    streams = await letter_streams(broker, selection)
    async for page in pages_in(broker, streams, selection):
        for _, letter in page.letters:
            count += 1
            _count(failures, letter)
    newest_first = sorted(failures.values(), key=lambda failure: failure.last, reverse=True)
    removed = sum(stream.removed for stream in streams)
    return Dead(tuple(newest_first), count, removed)


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
