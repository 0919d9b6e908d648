"""Thousands of runs without a fault; every planted bug found; the same seed, the same run."""

import pytest

from tests.simulation.__main__ import run
from tests.simulation.bugs import BUGS
from tests.simulation.world import KINDS, simulate

SEEDS = 400
"""How many runs `make test` makes; `make simulate ARGS="--seeds 10000"` makes as many as wanted."""
ENOUGH = 120
"""Runs within which a planted bug must be found."""


@pytest.mark.timeout(600)
def test_nothing_is_lost_reordered_or_done_twice() -> None:
    found = run(range(SEEDS))
    assert found.failed == {}
    assert found.commits > 100 * SEEDS, "too little happened for it to mean anything"
    assert sum(found.faults.values()) > 5 * SEEDS
    assert set(found.faults) == set(KINDS)
    assert found.redeliveries > SEEDS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    with BUGS[name].planted() as parts:
        assert any(simulate(seed, parts).report.faults for seed in range(ENOUGH)), f"{ENOUGH} runs did not find it"


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed).digest for seed in range(5)] == [simulate(seed).digest for seed in range(5)]
    assert len({simulate(seed).digest for seed in range(5)}) == 5
