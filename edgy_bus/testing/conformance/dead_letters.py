"""Dead letters: kept once, with the raw entry, until an operator replays or discards them."""

from dataclasses import replace

from edgy_bus.brokers.base import START, Broker, DeadLetter, HeldState, Lease, RowKey
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_new,
    is_lost,
    letter_of,
    park,
    park_behind,
    parked_ids,
)

OTHER = RowKey("app.other", "7")


class DeadLetterTopic:
    """A dead letter is kept with everything that the entry had, and only once."""

    async def test_dead_letters_keep_the_raw_entry(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        letter = letter_of(entry)
        await broker.bury(lease, letter)
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        assert [group.dead for group in await broker.backlog(PARTITION)] == [1]

    async def test_a_repeated_burial_keeps_one_letter(self, broker: Broker) -> None:
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        letter, second = letter_of(entry), letter_of(entry, "app.other")
        # The answer to the first call was lost.
        for _ in range(2):
            await broker.bury(lease, letter)
        assert await broker.dead_letters(PARTITION, "mail") == [letter]
        # Another receiver gives the same event up.
        await broker.bury(lease, second)
        assert await broker.dead_letters(PARTITION, "mail") == [letter, second]

    async def test_letters_are_read_in_pages_with_and_without_data(self, broker: Broker) -> None:
        assert (await broker.letters(PARTITION, "mail")).letters == []
        await _bury(broker, await acquire(broker, "w"), *"abc")
        first = await broker.letters(PARTITION, "mail", START, 2, data=True)
        assert [_event_of(buried.letter) for buried in first.letters] == ["a", "b"]
        assert first.more
        last = first.letters[-1]
        rest = await broker.letters(PARTITION, "mail", last.id, 2)
        assert [_event_of(buried.letter) for buried in rest.letters] == ["c"]
        assert not rest.more
        assert last.letter.fields[b"data"] == b"{}"
        assert b"data" not in rest.letters[0].letter.fields
        assert last.size == rest.letters[0].size == len(b"b" + b'{"id":"b"}' + b"{}")

    async def test_a_letter_is_edited_once_and_comes_last(self, broker: Broker) -> None:
        letters = await _bury(broker, await acquire(broker, "w"), *"ab")
        a, b = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        edited = replace(letters[0], fields={**letters[0].fields, b"data": b'{"x":1}'})
        copy = await broker.edit(PARTITION, "mail", a, edited)
        assert copy is not None
        assert b < copy
        page = await broker.letters(PARTITION, "mail", data=True)
        assert [buried.id for buried in page.letters] == [b, copy]
        assert await broker.dead_letters(PARTITION, "mail") == [letters[1], edited]
        # Another operator was first: nothing comes back.
        assert await broker.edit(PARTITION, "mail", a, edited) is None
        assert await broker.edit(PARTITION, "nobody", a, edited) is None
        await broker.discard(PARTITION, "mail", [b, copy])
        assert await broker.edit(PARTITION, "mail", copy, edited) is None
        assert await broker.dead_letters(PARTITION, "mail") == []

    async def test_letters_are_discarded_once(self, broker: Broker) -> None:
        await _bury(broker, await acquire(broker, "w"), *"abc")
        ids = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        assert await broker.discard(PARTITION, "mail", ids[:2]) == 2
        assert await broker.discard(PARTITION, "mail", ids) == 1
        assert await broker.discard(PARTITION, "nobody", ids) == 0
        assert await broker.dead_letters(PARTITION, "mail") == []


class ReplayTopic:
    """A replayed letter is parked, in order and once, and its row is handled by the owner."""

    async def test_replayed_letters_are_parked_in_order_and_handled(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        letters = await _bury(broker, lease, *"abc")
        ids = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        for moved in (2, 0):
            # The answer to the first call was lost.
            assert await broker.replay(PARTITION, "mail", ROW, ids[:2]) == moved
        assert await broker.replay(PARTITION, "mail", ROW, ids) == 1, "more of a row that waits"
        assert await broker.dead_letters(PARTITION, "mail") == []
        assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
        parked = await broker.parked(PARTITION, "mail", ROW, 10)
        assert [event.letter for event in parked] == letters
        assert all(event.replayed for event in parked)
        for event in parked:
            await broker.unpark(lease, ROW, event)
        assert await broker.held(PARTITION, "mail") == {}

    async def test_rows_are_replayed_together(self, broker: Broker) -> None:
        await _bury(broker, await acquire(broker, "w"), *"abc")
        a, b, c = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        # The letter is moved by the first call that names it.
        moved = await broker.replay_all(PARTITION, "mail", {ROW: [a, c], OTHER: [b, a]})
        assert list(moved) == [2, 1]

    async def test_a_row_that_waits_for_a_decision_keeps_its_letters(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        await _bury(broker, lease, "a")
        await append(broker, "b")
        await park(broker, lease, *await fetch_new(broker, lease))
        ids = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        assert await broker.replay(PARTITION, "mail", ROW, ids) is None
        assert await parked_ids(broker) == ["b"]
        assert len(await broker.dead_letters(PARTITION, "mail")) == 1

    async def test_a_later_event_is_parked_behind_letters_that_its_tenure_does_not_know(
        self, broker: Broker
    ) -> None:
        lease = await acquire(broker, "w")
        await _bury(broker, lease, *"abc")
        a, b, c = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        await broker.replay(PARTITION, "mail", ROW, [a])
        # As a tenure learns of the row, before an operator replays another letter.
        tail = (await broker.tails(PARTITION, "mail", [ROW]))[ROW]
        await broker.replay(PARTITION, "mail", ROW, [b])
        await append(broker, "d", "e")
        d, e = await fetch_new(broker, lease)
        last = await park_behind(broker, lease, d, after=tail)
        assert last is not None
        assert await parked_ids(broker) == ["a", "b", "d"]
        # An event that no operator replayed, and that the tenure does not know: a loss.
        assert await is_lost(park_behind(broker, lease, e, after=tail))
        await broker.replay(PARTITION, "mail", ROW, [c])
        first = (await broker.parked(PARTITION, "mail", ROW))[0]
        await broker.unpark(lease, ROW, first)
        assert await is_lost(park_behind(broker, lease, e, after=first.id)), "the tail is not there"
        assert await park_behind(broker, lease, e, after=last)
        assert await parked_ids(broker) == ["b", "d", "c", "e"]

    async def test_an_event_that_is_given_up_again_is_a_letter_again(self, broker: Broker) -> None:
        lease = await acquire(broker, "w")
        await _bury(broker, lease, "a", "b")
        ids = [buried.id for buried in (await broker.letters(PARTITION, "mail")).letters]
        await broker.replay(PARTITION, "mail", ROW, ids)
        first, _ = await broker.parked(PARTITION, "mail", ROW, 2)
        again = DeadLetter(first.letter.entry, ROW.receiver, "still", 1, first.letter.fields)
        for _ in range(2):
            # The answer to the first call was lost.
            assert await broker.unpark(lease, ROW, first, again)
        assert await broker.dead_letters(PARTITION, "mail") == [again]
        assert await parked_ids(broker) == ["b"]

    async def test_a_nudge_reaches_the_workers_of_a_group(self, broker: Broker) -> None:
        before = (await broker.join("mail", "w", 30, b"")).nudge
        elsewhere = (await broker.join("other", "w", 30, b"")).nudge
        assert (await broker.join("mail", "w", 30, b"")).nudge == before
        await broker.nudge("mail")
        assert (await broker.join("mail", "w", 30, b"")).nudge != before
        assert (await broker.join("other", "w", 30, b"")).nudge == elsewhere


async def _bury(broker: Broker, lease: Lease, *events: str) -> list[DeadLetter]:
    """Publish events of `ROW`, and give them up."""
    await append(broker, *events)
    entries = await fetch_new(broker, lease)
    letters = [letter_of(entry) for entry in entries]
    for letter in letters:
        await broker.bury(lease, letter)
    await broker.settle(lease, [entry.id for entry in entries])
    return letters


def _event_of(letter: DeadLetter) -> str:
    return letter.fields[b"id"].decode()
