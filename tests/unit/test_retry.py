import math

import pytest

from edgy_bus.errors import ConfigurationError
from edgy_bus.retry import Retry


def test_delays_grow_to_a_ceiling_and_end():
    policy = Retry(attempts=5, delay=1, factor=10, ceiling=50)
    assert [policy.wait(failed, chance=0) for failed in range(1, 6)] == [1, 10, 50, 50, None]


def test_jitter_takes_a_share_off():
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
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigurationError):
        Retry(**wrong)


@pytest.mark.parametrize("value", [math.nan, math.inf, "3", None, True])
@pytest.mark.parametrize("number", ["attempts", "delay", "factor", "ceiling", "jitter"])
def test_every_number_of_a_policy_is_a_finite_number(number, value):
    with pytest.raises(
        ConfigurationError, match=rf"Retry\({number}={value!r}\): write a finite number, {number}="
    ):
        Retry(**{number: value})
