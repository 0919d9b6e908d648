"""Which receiver keeps the others of a partition waiting, and for how long it may."""

import pytest

from edgy_bus.runtime.slowness import PATIENCE, Slowness, slowest


@pytest.mark.parametrize(
    ("jobs", "receivers", "expected"),
    [
        ({"a": 900, "b": 3}, "ab", "a"),
        ({"a": 900}, "ab", "a"),
        ({"a": 900, "b": 901}, "ab", None),
        ({"a": 900, "b": 800, "c": 10}, "abc", "a"),
        ({"a": 900, "b": 900, "c": 10}, "abc", "b"),
        ({"a": 900}, "a", None),
        ({"a": 900, "gone": 1_000}, "ab", "a"),
        ({}, "ab", None),
    ],
)
def test_the_slowest_receiver_has_more_than_twice_the_jobs_of_another(
    jobs: dict[str, int], receivers: str, expected: str | None
) -> None:
    assert slowest(jobs, set(receivers)) == expected


def test_a_receiver_is_slow_once_nothing_was_read_for_a_while() -> None:
    slowness = Slowness()
    slowness.look(10.0, is_full=True, slow="a")
    slowness.look(10.5, is_full=False, slow="a")
    slowness.look(10.6, is_full=True, slow="a")
    slowness.look(10.5 + PATIENCE, is_full=True, slow=None)
    slowness.look(11.0 + PATIENCE, is_full=True, slow="a")
    slowness.look(11.9 + PATIENCE, is_full=True, slow="a")
    assert slowness.receiver == ""
    slowness.look(11.0 + 2 * PATIENCE, is_full=True, slow="a")
    assert slowness.receiver == "a"
    slowness.look(12.0 + 2 * PATIENCE, is_full=False, slow="b")
    assert slowness.receiver == "a", "the tenure ends because of this decision"
