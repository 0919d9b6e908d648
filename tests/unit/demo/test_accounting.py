"""Test the account of the demonstration: every planted fault is counted, and only those."""

from dataclasses import replace

import pytest

from edgy_bus.demo.accounting import Account, Effect, GroupAccount, account_of, expected_effects

EXPECTED = expected_effects({1: 3, 2: 1})
RIGHT: list[Effect] = [(1, 1), (2, 1), (1, 2), (1, 3)]


def account(effects: list[Effect], differing: int = 0) -> GroupAccount:
    return account_of("search", EXPECTED, effects, differing)


def test_every_version_of_every_user_is_expected() -> None:
    assert {(1, 1), (1, 2), (1, 3), (2, 1)} == EXPECTED


def test_what_is_right_is_found_right() -> None:
    result = account(RIGHT)
    assert result.good
    assert result == GroupAccount("search", handled=4, lost=0, doubled=0, disordered=0, phantom=0)


@pytest.mark.parametrize(
    ("effects", "fault"),
    [
        ([(1, 1), (1, 2), (1, 3)], "lost"),
        ([*RIGHT, (2, 1)], "doubled"),
        ([(1, 1), (2, 1), (1, 3), (1, 2)], "disordered"),
        ([*RIGHT, (3, 1)], "phantom"),
    ],
)
def test_every_planted_fault_is_found_and_named(effects: list[Effect], fault: str) -> None:
    result = account(effects)
    assert getattr(result, fault) == 1
    assert not result.good
    absent = {"lost", "doubled", "disordered", "phantom"} - {fault}
    assert all(getattr(result, name) == 0 for name in absent)


def test_a_copy_that_differs_is_found() -> None:
    assert not account(RIGHT, differing=2).good


def test_a_run_is_good_when_it_proves_something_and_all_groups_are() -> None:
    good = Account(committed=4, vetoed=0, rolled_back=0, groups=(account(RIGHT),))
    assert good.good
    assert not replace(good, committed=0).good
    assert not replace(good, groups=()).good
    assert not replace(good, groups=(account(RIGHT), account(RIGHT[:2]))).good
