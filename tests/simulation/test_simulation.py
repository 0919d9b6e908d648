"""Thousands of runs without a fault; every planted bug found; the same seed, the same run."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.__main__ import run
from tests.simulation.bugs import BUGS, find
from tests.simulation.world import KINDS, own_collecting, simulate

SEEDS = 300
"""How many runs `make test` makes; `make simulate ARGS="--seeds 10000"` makes as many as wanted."""


@pytest.mark.timeout(600)
def test_nothing_is_lost_reordered_or_done_twice() -> None:
    found = run(range(SEEDS))
    assert found.failed == {}
    assert found.commits > 100 * SEEDS, "too little happened for it to mean anything"
    assert sum(found.faults.values()) > 5 * SEEDS
    assert set(found.faults) == set(KINDS)
    assert found.redeliveries > SEEDS
    assert found.decisions > SEEDS
    assert found.deaths > SEEDS / 10
    assert found.excused < found.decisions


@pytest.mark.timeout(900)
def test_every_planted_bug_is_found() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=own_collecting) as pool:
        found = dict(zip(BUGS, pool.map(find, BUGS), strict=True))
    assert [name for name, seed in found.items() if seed is None] == []
    assert len(found) >= 25


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed).digest for seed in range(5)] == [simulate(seed).digest for seed in range(5)]
    assert len({simulate(seed).digest for seed in range(5)}) == 5
