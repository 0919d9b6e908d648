"""Check every transition of held rows, and the meaning of a broker's answer in each state."""

import pytest

from edgy_bus.brokers.base import START, EntryId, HeldState, RowKey
from edgy_bus.runtime import held_rows
from edgy_bus.runtime.held_rows import Finding, Findings, HeldRows, Hold, Phase

ROW, OTHER = RowKey("r", "1"), RowKey("r", "2")
FIRST, SECOND = EntryId(0, 1), EntryId(0, 2)
HELD, RETRYING = HeldState(), HeldState(retrying=True)


# Transitions


def test_a_row_whose_event_was_given_up_is_held() -> None:
    assert held_rows.begin(FIRST, 7) == Hold(Phase.HELD, FIRST, 7)


@pytest.mark.parametrize("phase", Phase)
def test_a_later_event_moves_the_tail_and_nothing_else(phase: Phase) -> None:
    row = Hold(phase, FIRST, 7)
    assert held_rows.park_behind(row, SECOND) == Hold(phase, SECOND, 7)


def test_a_released_row_is_retried_and_then_held_again_or_freed() -> None:
    row = Hold(Phase.HELD, FIRST, 1)
    retrying = held_rows.release(row, 2)
    assert retrying == Hold(Phase.RETRYING, FIRST, 2)
    assert held_rows.hold_again(retrying, 3) == Hold(Phase.HELD, FIRST, 3)
    freeing = held_rows.begin_to_free(retrying, 3)
    assert freeing == Hold(Phase.FREEING, FIRST, 3)
    assert held_rows.free(freeing, 4) == Hold(Phase.FREED, FIRST, 4)
    assert held_rows.release(freeing, 4) == Hold(Phase.RETRYING, FIRST, 4)


# Answers of the broker


@pytest.mark.parametrize(
    ("phase", "answer", "finding"),
    [
        (Phase.HELD, HELD, Finding.KEEP),
        (Phase.HELD, RETRYING, Finding.RELEASED),
        (Phase.HELD, None, Finding.LOST),
        (Phase.RETRYING, HELD, Finding.KEEP),
        (Phase.RETRYING, RETRYING, Finding.KEEP),
        (Phase.RETRYING, None, Finding.LOST),
        (Phase.FREEING, HELD, Finding.KEEP),
        (Phase.FREEING, RETRYING, Finding.KEEP),
        (Phase.FREEING, None, Finding.KEEP),
        (Phase.FREED, HELD, Finding.KEEP),
        (Phase.FREED, RETRYING, Finding.RELEASED),
        (Phase.FREED, None, Finding.FREE),
    ],
)
def test_what_an_answer_means(phase: Phase, answer: HeldState | None, finding: Finding) -> None:
    row = Hold(phase, FIRST, since=4)
    assert held_rows.compare(row, answer, question=5) is finding


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("answer", [HELD, RETRYING, None])
@pytest.mark.parametrize("since", [5, 6])
def test_an_answer_to_a_question_from_before_the_phase_means_nothing(
    phase: Phase, answer: HeldState | None, since: int
) -> None:
    row = Hold(phase, FIRST, since)
    assert held_rows.compare(row, answer, question=5) is Finding.KEEP


# Races, step by step


def test_a_row_that_is_held_while_the_broker_answers_is_not_lost() -> None:
    """An answer that is under way says that nothing is held."""
    rows = HeldRows()
    question = rows.ask()
    rows.begin(ROW, FIRST)
    assert rows.learn([ROW, OTHER], {}, question) == Findings([], [])
    assert rows.tail(ROW) == FIRST
    assert rows.learn([ROW, OTHER], {}, rows.ask()) == Findings([], [ROW])


def test_a_row_that_is_given_up_again_does_not_take_an_old_decision_for_a_new_one() -> None:
    rows = HeldRows()
    rows.begin(ROW, FIRST)
    assert rows.learn([ROW, OTHER], {ROW: RETRYING}, rows.ask()) == Findings([ROW], [])
    rows.release(ROW)
    question = rows.ask()
    rows.hold_again(ROW)
    assert rows.learn([ROW, OTHER], {ROW: RETRYING}, question) == Findings([], [])
    assert rows.learn([ROW, OTHER], {ROW: RETRYING}, rows.ask()) == Findings([ROW], [])


def test_a_row_freed_while_the_broker_answers_is_not_retried_and_not_forgotten_too_early() -> None:
    rows = HeldRows()
    rows.begin(ROW, FIRST)
    rows.release(ROW)
    question = rows.ask()
    rows.begin_to_free(ROW)
    assert rows.may_be_free(ROW)
    assert rows.end_freeing(ROW, is_held=False)
    assert rows.learn([ROW, OTHER], {ROW: RETRYING}, question) == Findings([], [])
    assert rows.may_be_free(ROW)
    assert rows.learn([ROW, OTHER], {}, rows.ask()) == Findings([], [])
    assert rows.rows == {}


def test_a_freed_row_whose_next_event_is_given_up_is_held_by_this_tenure_once_more() -> None:
    rows = HeldRows()
    rows.begin(ROW, FIRST)
    rows.release(ROW)
    rows.begin_to_free(ROW)
    assert rows.end_freeing(ROW, is_held=False)
    question = rows.ask()
    rows.begin(ROW, SECOND)
    assert not rows.may_be_free(ROW)
    assert rows.learn([ROW, OTHER], {}, question) == Findings([], [])
    assert rows.learn([ROW, OTHER], {}, rows.ask()) == Findings([], [ROW]), (
        "freed once is not freed for ever"
    )


def test_a_row_to_which_an_event_was_added_while_it_was_freed_is_handled_on() -> None:
    rows = HeldRows()
    rows.begin(ROW, FIRST)
    rows.release(ROW)
    rows.begin_to_free(ROW)
    rows.park_behind(ROW, SECOND)
    assert not rows.end_freeing(ROW, is_held=True)
    assert rows.rows == {ROW: Hold(Phase.RETRYING, SECOND, 0)}


@pytest.mark.parametrize("is_held", [False, True])
def test_a_row_that_is_held_anew_before_the_broker_says_it_was_free_stays_held(
    is_held: bool,
) -> None:
    """The broker says that it is held if the answer to a first request was lost."""
    rows = HeldRows()
    rows.begin(ROW, FIRST)
    rows.release(ROW)
    rows.begin_to_free(ROW)
    rows.begin(ROW, SECOND)
    assert rows.end_freeing(ROW, is_held=is_held)
    assert rows.rows == {ROW: Hold(Phase.HELD, SECOND, 0)}


def test_a_row_that_only_the_broker_knows_is_added_and_its_decision_counts_at_once() -> None:
    rows = HeldRows()
    rows.begin(ROW, SECOND)
    question = rows.ask()
    rows.add({ROW: FIRST, OTHER: FIRST}, question)
    assert rows.tail(ROW) == SECOND, "known better here"
    assert rows.learn([ROW, OTHER], {ROW: HELD, OTHER: RETRYING}, question) == Findings([OTHER], [])


def test_a_row_that_is_forgotten_while_the_broker_parks_is_held_again() -> None:
    rows = HeldRows()
    assert rows.tail(ROW) == START
    rows.park_behind(ROW, FIRST)
    assert rows.rows == {ROW: Hold(Phase.HELD, FIRST, 0)}
