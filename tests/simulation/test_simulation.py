"""Thousands of runs without a fault; every planted bug found; the same seed, the same run."""

import os

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("EDGY_BUS_SEEDS", "300"))
"""How many runs `make test` makes; `make simulate` makes as many as wanted."""
CHUNK = 50
ENOUGH = 120
"""Runs within which a planted bug must be found."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_reordered_or_done_twice(first: int) -> None:
    outcomes = [simulate(seed) for seed in range(first, first + CHUNK)]
    found = {one.seed: {kind: what[:3] for kind, what in one.report.faults.items()} for one in outcomes}
    assert {seed: faults for seed, faults in found.items() if faults} == {}
    assert sum(one.commits for one in outcomes) > 50 * CHUNK, "too little happened for it to mean anything"
    assert sum(sum(one.faults.values()) for one in outcomes) > 5 * CHUNK
    assert sum(one.report.redeliveries for one in outcomes) > CHUNK


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    with BUGS[name].planted() as parts:
        assert any(simulate(seed, parts).report.faults for seed in range(ENOUGH)), f"{ENOUGH} runs did not find it"


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed).digest for seed in range(5)] == [simulate(seed).digest for seed in range(5)]
    assert len({simulate(seed).digest for seed in range(5)}) == 5
