from typing import Any

import pytest

from edgy_bus.reasons import describe
from edgy_bus.retrying import Bury, Retry, RetryLater, Snooze
from edgy_bus.runtime.outcome import (
    Again,
    Done,
    Failed,
    Finish,
    GiveUp,
    Note,
    decide,
    pack_notes,
    unpack_notes,
)

RETRY = Retry(attempts=3, delay=1, factor=2, jitter=0)


def test_a_failure_is_tried_again_after_the_policys_delay() -> None:
    assert decide(Failed("x"), Note(), RETRY, now=100) == Again(Note(1, 101, wait=1), "x")
    assert decide(Failed("x"), Note(1), RETRY, now=100) == Again(Note(2, 102, wait=2), "x")


def test_the_last_failure_gives_up_with_its_reason() -> None:
    assert decide(Failed("x"), Note(2), RETRY, now=100) == GiveUp(3, "x")


def test_what_is_done_is_finished() -> None:
    assert decide(Done(), Note(2), RETRY, now=100) == Finish()
    assert decide(Done(skipped=True), Note(), RETRY, now=100) == Finish()


def test_a_snooze_counts_no_attempt() -> None:
    assert decide(Snooze(30), Note(2), RETRY, now=100) == Again(Note(2, 130, wait=30), "snoozed")


def test_a_receiver_may_ask_for_its_own_delay_but_not_for_more_attempts() -> None:
    assert decide(RetryLater(7), Note(), RETRY, now=100) == Again(
        Note(1, 107, wait=7), "the receiver asked for another attempt"
    )
    again = decide(RetryLater(), Note(), RETRY, now=100)
    assert isinstance(again, Again)
    assert again.note.due == 101
    assert isinstance(decide(RetryLater(7), Note(2), RETRY, now=100), GiveUp)


def test_a_receiver_may_give_up_at_once() -> None:
    assert decide(Bury("never"), Note(), RETRY, now=100) == GiveUp(1, "never")


def test_notes_travel() -> None:
    notes = {
        "a": Note(2, 1700000000.5, wait=2.5),
        "b": Note(1, done=True),
        "c": Note(3, done=True, kept=True),
    }
    assert unpack_notes("e1", pack_notes("e1", notes)) == notes
    assert unpack_notes("e2", pack_notes("e1", notes)) == {}, "they are about another event"


def test_a_note_carries_the_beginning_of_the_reason_for_operators() -> None:
    again = decide(Failed("ValueError: " + "x" * 900), Note(), RETRY, now=100)
    assert isinstance(again, Again)
    assert again.noted == again.note
    [note] = unpack_notes("e1", pack_notes("e1", {"a": again.noted})).values()
    assert note.reason == "ValueError: " + "x" * 188
    bare = pack_notes("e1", {"a": Note(1)})
    assert bare == b'["e1",{"a":[1,0.0,false,false,0.0]}]', "as releases without reasons write"
    deep = b"[" * 1_000 + b"]" * 1_000
    [foreign] = unpack_notes("e1", b'["e1",{"a":[1,0,false,false,0,%s]}]' % deep).values()
    assert (foreign.attempts, foreign.reason) == (1, "")


def test_a_reason_that_is_no_text_is_noted_all_the_same() -> None:
    again = Again(Note(1), "ValueError: \ud800")
    [note] = unpack_notes("e1", pack_notes("e1", {"a": again.noted})).values()
    assert note.reason == "ValueError: ?"


@pytest.mark.parametrize(
    "raw", [None, b"", b"{", b"[]", b'{"a": 1}', b'{"a": ["x", 0, 0]}', b'{"a": []}']
)
def test_notes_that_cannot_be_read_are_nothing(raw: bytes | None) -> None:
    assert unpack_notes("e1", raw) == {}


# Reasons

LONGEST = 2_000


class Broken(Retry):
    """A policy of the application's own."""

    def wait(self, failed: int, chance: float | None = None) -> float | None:
        raise ValueError("y" * 1_000_000)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "é" * 1_000_000, "\n" * 5_000])
def test_a_reason_of_any_length_is_bounded(text: str) -> None:
    failed = Failed(describe(ValueError(text)))
    assert len(failed.reason) <= LONGEST
    decisions: list[Any] = [
        decide(failed, Note(), RETRY, now=100),
        decide(failed, Note(2), RETRY, now=100),
        decide(failed, Note(), Broken(), now=100),
        decide(Bury(text), Note(), RETRY, now=100),
    ]
    assert max(len(decision.reason) for decision in decisions) <= LONGEST
    assert "the retry policy failed: ValueError: yyy" in decisions[2].reason
