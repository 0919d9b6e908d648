"""Check the models of the protocols.

The models hold, and a counter-example exists for every mechanism that is removed from a model.
"""

import pytest

from tests.models.checker import ModelError, Verdict, check, missing, read
from tests.models.rows import ROWS, Row

_SMALL = [row for row in ROWS if not row.large]


@pytest.fixture
def _spin() -> None:
    """Skip the test without Spin.

    Spin is optional, in CI too: the models change only with the protocols, and a developer who
    changes the protocols needs Spin anyway.
    """
    if lacking := missing():
        pytest.skip(lacking)


@pytest.mark.usefixtures("_spin")
@pytest.mark.parametrize("row", _SMALL, ids=str)
def test_model(row: Row) -> None:
    verdict = check(row.model, row.options, timeout=90)
    if row.holds:
        assert verdict.holds, f"{row}: {verdict}"
    else:
        assert verdict.errors, f"{row}: no counter-example, {verdict}"


_TOLD = """
State-vector 84 byte, depth reached 49, errors: {errors}
       27 states, stored
"""


@pytest.mark.parametrize(
    "limit",
    [
        "error: max search depth too small",
        "Warning: Search not completed",
        "pan: out of memory",
        "pan: reached -DMEMLIM bound",
    ],
)
def test_search_that_met_a_limit_does_not_hold(limit: str) -> None:
    assert not read(limit + _TOLD.format(errors=0), 0.1).holds


def test_search_of_everything_holds() -> None:
    assert read(_TOLD.format(errors=0), 0.1) == Verdict(0, True, 27, 0.1, "")


def test_counter_example_is_told() -> None:
    told = (
        "pan:1: assertion violated (live) (at depth 49)\nWarning: Search not completed"
        + _TOLD.format(errors=1)
    )
    found = read(told, 0.1)
    assert not found.holds
    assert str(found) == "counter-example: assertion violated (live)"


def test_words_that_are_no_verdict_are_an_error() -> None:
    with pytest.raises(ModelError, match="output of the search is unknown"):
        read("pan: unknown option", 0.1)


@pytest.mark.usefixtures("_spin")
def test_search_that_is_cut_short_is_not_taken_for_one_that_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.models.checker._DEPTH", 100)
    assert not check("consume", ["-DEVENTS=2", "-DTENURES=2"], timeout=60).complete
