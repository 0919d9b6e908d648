"""Dead letters: failures with counts, choices, replays in order and discards."""

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgy_bus.brokers.base import HeldState, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import PRE, Partition
from edgy_bus.operations import (
    Discarded,
    Letter,
    Parts,
    Replayed,
    Selection,
    count_dead,
    dead,
    dead_letter,
    discard_dead,
    export_dead,
    forget,
    list_dead,
    replay_dead,
    selection_of_ids,
)
from edgy_bus.operations.letters import fingerprint
from tests.support import PARTITION, bury, event, hold

TEAMS = Partition("accounts.Team", "0")
EVERY = Selection()


def ticking() -> MemoryBroker:
    """A broker whose clock gives every letter a millisecond of its own."""
    ticks = itertools.count(int(time.time() * 100))
    return MemoryBroker(lambda: next(ticks) / 100)


@pytest.fixture
async def broker() -> MemoryBroker:
    broker = ticking()
    await bury(broker, event("1", 1), event("2", 2), reason="HTTPError: 503 for 'a@b'")
    await bury(broker, event("1", 3), reason="HTTPError: 504 for 'c@d'")
    await bury(broker, event("1", 4), reason="KeyError: name", receiver="app.search")
    await bury(broker, event("9", 1), group="audit", partition=TEAMS)
    return broker


async def letters_of(broker: MemoryBroker, selection: Selection = EVERY) -> list[Letter]:
    return [letter async for letter in list_dead(broker, selection)]


async def test_failures_are_counted_with_first_and_last_the_newest_first(
    broker: MemoryBroker,
) -> None:
    view = await dead(broker, Selection(group="mail"))
    assert view.count == 4
    search, mail = view.failures
    assert (search.receiver, search.count) == ("app.search", 1)
    assert (mail.receiver, mail.count) == ("app.mail", 3)
    assert mail.reason == "HTTPError: 504 for 'c@d'", "the newest reason"
    assert mail.first < mail.last
    shown = await dead_letter(broker, mail.example, data=False)
    assert shown is not None
    assert shown.letter.reason == mail.reason
    assert len((await dead(broker, EVERY)).failures) == 3


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("HTTPError: 503 in 1.5 s", "HTTPError: 200 in 17 s", True),
        ("no user 'a'", "no user 'b'", True),
        (
            "0193a5b2-7c1e-7d2a-9f00-0123456789ab is gone",
            "0193a5b2-7c1e-7d2a-9f00-ffffffffffff is gone",
            True,
        ),
        ("KeyError: name", "KeyError: mail", False),
    ],
)
def test_numbers_and_quoted_values_make_no_failure_of_their_own(
    first: str, second: str, is_same: bool
) -> None:
    assert (fingerprint(first) == fingerprint(second)) is is_same


@pytest.mark.parametrize(
    ("selection", "count"),
    [
        (EVERY, 5),
        (Selection(group="audit"), 1),
        (Selection(receiver="app.search"), 1),
        (Selection(model="accounts.User"), 4),
        (Selection(subject="1"), 3),
        (Selection(subject="1", receiver="app.mail"), 2),
        (Selection(fingerprint=fingerprint("KeyError: name")), 1),
        (Selection(since=datetime.now(UTC) + timedelta(hours=1)), 0),
        (Selection(until=datetime.now(UTC) - timedelta(hours=1)), 0),
        (Selection(since=datetime.now(UTC) - timedelta(hours=1)), 5),
        (Selection(group="nobody"), 0),
    ],
)
async def test_letters_are_chosen_by_every_given_value(
    broker: MemoryBroker, selection: Selection, count: int
) -> None:
    assert len(await letters_of(broker, selection)) == count
    assert (await dead(broker, selection)).count == count


async def test_a_letter_is_shown_without_its_data_unless_asked(broker: MemoryBroker) -> None:
    first, *_ = await letters_of(broker, Selection(group="mail"))
    assert (first.subject, first.signal, first.attempts) == ("1", "post_save", 1)
    bare = await dead_letter(broker, first.id, data=False)
    full = await dead_letter(broker, first.id, data=True)
    assert bare is not None
    assert full is not None
    assert "data" not in bare.fields
    assert full.fields["data"].startswith('{"instance":')
    assert await dead_letter(broker, "mail/accounts.User/0/1-1", data=True) is None
    with pytest.raises(ConfigurationError, match="GROUP/MODEL/PARTITION/ID"):
        await dead_letter(broker, "mail", data=True)


async def test_bytes_that_are_no_text_are_exported_exactly() -> None:
    broker = MemoryBroker()
    await bury(broker, event("1", 1))
    state = broker._streams[PARTITION].groups["mail"]
    (letter,) = state.dead.values()
    letter.fields[b"sig"] = b"\xff\x00"  # type: ignore[index]
    (shown,) = [each async for each in export_dead(broker, EVERY)]
    assert shown.binary == {"sig": "/wA="}
    assert {"id", "head", "data"} == set(shown.fields)


async def test_a_replay_parks_the_letters_of_a_row_in_the_order_of_its_events(
    broker: MemoryBroker,
) -> None:
    # Given up again later: behind its successor among the letters, not among the events.
    await bury(broker, event("1", 2))
    result = await replay_dead(broker, Selection(group="mail", receiver="app.mail"))
    assert result == Replayed(matching=4, replayed=4)
    parked = await broker.parked(PARTITION, "mail", RowKey("app.mail", "1"), 10)
    numbers = [each.letter.fields[b"data"].split(b'"n":')[1][:1] for each in parked]
    assert numbers == [b"1", b"2", b"3"]
    held = await broker.held(PARTITION, "mail")
    assert set(held.values()) == {HeldState(retrying=True)}
    assert (await broker.join("mail", "w", 30, b"")).nudge != "0", "workers look at once"
    # Repeated, because its answer was lost.
    assert await replay_dead(broker, Selection(group="mail", receiver="app.mail")) == Replayed()
    assert (await dead(broker, EVERY)).count == 2


async def test_letters_are_replayed_or_discarded_by_their_ids(broker: MemoryBroker) -> None:
    first, second, *_ = await letters_of(broker, Selection(group="mail"))
    assert await replay_dead(broker, selection_of_ids([first.id])) == Replayed(1, 1)
    assert await discard_dead(broker, selection_of_ids([first.id, second.id])) == Discarded(1, 1)
    assert (await dead(broker, EVERY)).count == 3


async def test_the_letters_of_a_held_row_wait_for_a_decision() -> None:
    broker = MemoryBroker()
    await bury(broker, event("1", 1), event("2", 2))
    await hold(broker, "1")
    assert await replay_dead(broker, EVERY) == Replayed(matching=2, replayed=1, waiting=1)
    (letter,) = await letters_of(broker)
    assert letter.subject == "1"


async def test_intents_and_events_without_a_row_are_replayed_alone() -> None:
    broker, intents = MemoryBroker(), Partition("accounts.User", PRE)
    await bury(broker, event("1", None, "pre_save"), partition=intents)
    await bury(broker, event(None, 1, "post_migrate"), event(None, 2, "post_migrate"))
    assert await replay_dead(broker, EVERY) == Replayed(3, 3)
    assert len(await broker.held(PARTITION, "mail")) == 2
    (row,) = await broker.held(intents, "mail")
    assert row.subject != "1", "later intents of the row do not wait"
    assert RowKey.parse(str(row)) == row


async def test_what_is_no_event_stays() -> None:
    broker = MemoryBroker()
    await bury(broker, event("1", 1), receiver="*", reason="not JSON")
    assert await replay_dead(broker, EVERY) == Replayed(matching=1, foreign=1)
    assert await discard_dead(broker, EVERY) == Discarded(1, 1)


async def test_the_letters_of_a_forgotten_group_are_found_by_its_name() -> None:
    broker = MemoryBroker()
    await bury(broker, event("1", 1))
    await forget(Parts(broker, "accounts"), "mail")
    assert (await dead(broker, EVERY)).count == 0
    assert (await dead(broker, Selection(group="mail"))).count == 1
    assert await discard_dead(broker, Selection(group="mail")) == Discarded(1, 1)


async def test_an_action_does_not_meet_letters_that_are_given_up_again() -> None:
    class GivesUp(MemoryBroker):
        """A broker whose workers give every replayed letter up at once."""

        async def replay(self, *given: Any) -> int | None:
            moved = await super().replay(*given)
            state = self._streams[PARTITION].groups["mail"]
            for parked in [each for row in state.parked.values() for each in row]:
                state.bury(parked.letter, self._clock)
            state.parked.clear()
            state.held.clear()
            return moved

    broker = GivesUp()
    await bury(broker, *(event(str(n), n) for n in range(450)))
    looked_at: list[int] = []
    assert await replay_dead(broker, EVERY, looked_at.append) == Replayed(450, 450)
    assert sum(looked_at) == await count_dead(broker, EVERY) == 450


async def test_a_view_is_bounded_whatever_the_reasons_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgy_bus.operations.failures.MOST_FAILURES", 2)
    broker = ticking()
    for word in ("one", "two", "three", "four"):
        await bury(broker, event("1", 1), reason=word)
    view = await dead(broker, EVERY)
    assert [(failure.reason, failure.count) for failure in view.failures] == [
        ("other reasons", 2),
        ("two", 1),
        ("one", 1),
    ]
