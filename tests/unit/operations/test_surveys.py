"""The name of a tenure says which worker it is, and since when."""

from datetime import UTC, datetime

import pytest

from edgy_bus.operations.surveys import since_of, worker_of


def test_a_tenure_names_its_worker_and_its_time() -> None:
    tenure = "7.a1b2c3.1795827799077"
    assert worker_of(tenure) == "a1b2c3"
    assert since_of(tenure) == datetime(2026, 11, 28, 1, 3, 19, 77_000, UTC)


@pytest.mark.parametrize(
    "tenure",
    [
        "",
        "7.a1b2c3.4",  # an earlier release counts its tenures
        "7.relay",
        "what another program wrote",
        "7.w.99999999999999999999",
        "7.w.\u0661\u0662\u0663",
        "7.w.-1795827799077",
    ],
)
def test_a_name_of_another_form_says_no_time(tenure: str) -> None:
    assert since_of(tenure) is None
