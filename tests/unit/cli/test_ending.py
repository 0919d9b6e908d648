"""What a signal means, from the start of a program to its end."""

from signal import SIGINT, SIGTERM

import pytest

from edgy_bus.cli.ending import REPEATED, Ending, Step

WORKING = Ending().with_patience(30)


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_a_program_that_is_loading_is_ended_at_once(number: int) -> None:
    assert Ending().received(number, 0)[1] is Step.LEAVE


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_the_first_signal_asks_and_sets_the_limit(number: int) -> None:
    state, step = WORKING.received(number, 100)
    assert step is Step.ASK
    assert state.wait(100) == 30
    assert not state.is_over(129.9)
    assert state.is_over(130)
    assert state.wait(140) == 0


@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
def test_a_later_ctrl_c_leaves(first: int) -> None:
    state, _ = WORKING.received(first, 100)
    assert state.received(SIGINT, 100 + REPEATED)[1] is Step.LEAVE


def test_a_ctrl_c_that_the_parent_passes_on_is_the_same_ctrl_c() -> None:
    state, _ = WORKING.received(SIGINT, 100)
    state, step = state.received(SIGINT, 100.01)
    assert step is Step.NOTHING
    assert state.received(SIGINT, 100.5)[1] is Step.LEAVE


def test_a_repeated_sigterm_changes_nothing() -> None:
    state, _ = WORKING.received(SIGTERM, 100)
    assert state.received(SIGTERM, 120) == (state, Step.NOTHING)


def test_without_a_signal_there_is_no_limit() -> None:
    assert WORKING.wait(100) is None
    assert not WORKING.is_over(10**9)


def test_more_patience_later_does_not_move_a_limit() -> None:
    state, _ = Ending().with_patience(1.5).received(SIGTERM, 100)
    assert state.with_patience(30).wait(100) == 1.5


def test_a_program_that_ends_by_itself_has_a_limit_too() -> None:
    state = WORKING.ending(100, within=5)
    assert state.is_over(105)
    state, step = state.received(SIGTERM, 101)
    assert step is Step.ASK
    assert state.wait(101) == 4


def test_the_earlier_limit_counts() -> None:
    asked, _ = WORKING.received(SIGTERM, 100)
    assert asked.ending(110, within=5).wait(110) == 5
    assert asked.ending(128, within=5).wait(128) == 2
