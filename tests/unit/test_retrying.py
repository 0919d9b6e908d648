import math
from datetime import timedelta
from typing import Any

import pytest

from edgy_bus.errors import ConfigurationError
from edgy_bus.retrying import (
    LONGEST,
    Bury,
    Retry,
    RetryLater,
    Snooze,
    dead_letter,
    retry,
    snooze,
)


def test_delays_grow_to_a_ceiling_and_end() -> None:
    policy = Retry(attempts=5, delay=1, factor=10, ceiling=50)
    assert [policy.wait(failed, chance=0) for failed in range(1, 6)] == [1, 10, 50, 50, None]


def test_jitter_takes_a_share_off() -> None:
    assert Retry(delay=10, jitter=0.5).wait(1, chance=1) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"delay": -1},
        {"factor": 0.5},
        {"jitter": 2},
        {"ceiling": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        Retry(**wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, "3", None, True])
@pytest.mark.parametrize("number", ["attempts", "delay", "factor", "ceiling", "jitter"])
def test_every_number_of_a_policy_is_a_finite_number(number: str, value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"Retry\({number}={value!r}\): write a number from .*, {number}="
    ):
        Retry(**{number: value})


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, -1.0, 1e15, LONGEST + 1])
def test_a_receiver_cannot_ask_for_a_wait_that_no_clock_knows(seconds: float) -> None:
    for outcome, make in (("snooze", snooze), ("retry", lambda after: retry(after=after))):
        with pytest.raises(ConfigurationError, match=rf"{outcome}\(.*{seconds!r} is no number"):
            make(seconds)


@pytest.mark.parametrize("wrong", ["5", None, True])
def test_an_outcome_needs_a_number(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        Snooze(wrong)


def test_a_receiver_may_ask_for_any_other_wait() -> None:
    assert snooze(timedelta(minutes=1)) == Snooze(60)
    assert retry(after=0) == RetryLater(0)
    assert retry() == RetryLater(None)
    assert snooze(LONGEST) == Snooze(LONGEST)


def test_the_reason_of_a_dead_letter_is_text_or_an_error() -> None:
    assert dead_letter("no such user") == Bury("no such user")
    assert dead_letter(ValueError("no")) == Bury("ValueError: no")
    for wrong in (None, 5, b"bytes"):
        with pytest.raises(ConfigurationError, match="write the reason as text"):
            dead_letter(wrong)
