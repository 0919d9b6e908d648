"""Thousands of runs without a fault; every planted bug found; the same seed, the same run."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.__main__ import run
from tests.simulation.bugs import BUGS, find
from tests.simulation.world import CHAOS, KINDS, own_collecting, simulate

LONG, SHORT = range(100), range(1_000_000, 1_002_000)
"""The seeds that `make test` runs; `make simulate ARGS="--seeds 10000"` runs as many as wanted."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seeds", "seconds", "faults"), [(LONG, CHAOS, 5), (SHORT, 3.0, 1.4)])
def test_nothing_is_lost_reordered_or_done_twice(
    seeds: range, seconds: float, faults: float
) -> None:
    found = run(seeds, seconds)
    assert found.failed == {}
    assert found.commits > 3 * seconds * len(seeds), "too little happened for it to mean anything"
    assert sum(found.faults.values()) > faults * len(seeds)
    assert set(found.faults) == set(KINDS)
    assert found.redeliveries > len(seeds)
    assert found.decisions > len(seeds)
    assert found.deaths > len(seeds) / 10
    assert found.excused < found.decisions


@pytest.mark.timeout(900)
def test_every_planted_bug_is_found() -> None:
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=own_collecting) as pool:
        found = dict(zip(BUGS, pool.map(find, BUGS), strict=True))
    assert [name for name, seed in found.items() if seed is None] == []
    assert len(found) >= 25


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed).digest for seed in range(5)] == [
        simulate(seed).digest for seed in range(5)
    ]
    assert len({simulate(seed).digest for seed in range(5)}) == 5
