"""Limits of dead letters: a burial removes and counts the oldest letters."""

import asyncio
from collections.abc import Sequence

from edgy_bus.brokers.base import REMOVED, Broker, EntryId, Lease, LetterLimits
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    acquire,
    append,
    fetch_new,
    letter_of,
)

SHORT = 0.2
"""The age in seconds up to which letters of a test are kept."""


class LetterLimitTopic:
    """Of a group with limits the newest letters are kept, and no letter goes uncounted."""

    async def test_the_newest_letters_are_kept(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        assert await _bury(broker, lease, "abcde", LetterLimits(most=3)) == [0, 0, 0, 1, 1]
        assert await _kept(broker) == ["c", "d", "e"]
        assert await _counts(broker) == (3, 2)
        assert await _bury(broker, lease, "f") == [0], "without limits, letters are kept"
        assert await _bury(broker, lease, "g", LetterLimits(most=1)) == [4]
        assert await _kept(broker) == ["g"]
        assert await _counts(broker) == (1, 6)

    async def test_letters_beyond_the_age_are_removed(self, broker: Broker) -> None:
        lease, limits = await acquire(broker, "w"), LetterLimits(seconds=SHORT)
        assert await _bury(broker, lease, "ab") == [0, 0]
        assert await _bury(broker, lease, "c", LetterLimits(seconds=3600)) == [0]
        await _grow_old(broker)
        assert await _kept(broker) == ["a", "b", "c"], "age alone removes nothing"
        assert await _bury(broker, lease, "de", limits) == [3, 0]
        assert await _kept(broker) == ["d", "e"]
        # Each limit removes letters that the other limit keeps.
        assert await _bury(broker, lease, "f", LetterLimits(SHORT, most=2)) == [1]
        await _grow_old(broker)
        assert await _bury(broker, lease, "g", LetterLimits(SHORT, most=100)) == [2]
        assert await _counts(broker) == (1, 6)

    async def test_a_burial_removes_a_page_of_letters_at_most(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        await _bury(broker, lease, [str(number) for number in range(2 * REMOVED + 5)])
        await _grow_old(broker)
        assert await _bury(broker, lease, "a", LetterLimits(most=2)) == [REMOVED]
        assert await _bury(broker, lease, "bc", LetterLimits(seconds=SHORT)) == [REMOVED, 5]
        assert await _kept(broker) == ["a", "b", "c"]
        assert await _counts(broker) == (3, 2 * REMOVED + 5)

    async def test_a_repeated_burial_removes_nothing_more(self, broker: Broker) -> None:
        lease, limits = await acquire(broker, "w"), LetterLimits(most=1)
        await _bury(broker, lease, "ab")
        await append(broker, "c")
        (entry,) = await fetch_new(broker, lease)
        # The answer to the first call was lost.
        removed = [await broker.bury(lease, letter_of(entry), (), limits) for _ in range(2)]
        assert removed == [2, 0]
        assert await _kept(broker) == ["c"]
        assert await _counts(broker) == (1, 2)

    async def test_groups_have_letters_and_counts_of_their_own(self, broker: Broker) -> None:
        mail, search = await acquire(broker, "w"), await acquire(broker, "w", group="search")
        await append(broker, *"ab")
        for entry in await fetch_new(broker, search):
            await broker.bury(search, letter_of(entry), (), LetterLimits(most=1))
        for entry in await fetch_new(broker, mail):
            await broker.bury(mail, letter_of(entry))
        assert await _kept(broker) == ["a", "b"]
        assert await _counts(broker, "search") == (1, 1)
        assert await _counts(broker) == (2, 0)


async def _bury(
    broker: Broker, lease: Lease, events: Sequence[str], *limits: LetterLimits
) -> list[int]:
    """Publish and give up events. Return how many letters each burial removed."""
    await append(broker, *events)
    entries = (await broker.fetch(lease, 1000, inherit=False)).entries
    removed = [await broker.bury(lease, letter_of(entry), (), *limits) for entry in entries]
    await broker.settle(lease, [entry.id for entry in entries])
    return removed


async def _kept(broker: Broker) -> list[str]:
    letters = await broker.dead_letters(PARTITION, "mail")
    return [letter.fields[b"id"].decode() for letter in letters]


async def _counts(broker: Broker, name: str = "mail") -> tuple[int, int]:
    """Return how many letters a group has, and how many were removed."""
    (stream,) = await broker.survey([PARTITION])
    (group,) = (group for group in stream.groups if group.group == name)
    return group.dead, group.removed


async def _grow_old(broker: Broker) -> None:
    """Wait until every letter is older than `SHORT`, by the broker's clock."""
    letters = (await broker.letters(PARTITION, "mail", EntryId(0, 0), 1000)).letters
    newest = letters[-1].id.ms / 1000
    # By the clock of the broker, whose ids have the time of a burial.
    await asyncio.sleep(newest + SHORT - (await broker.facts()).now + 0.01)
