"""Hundreds of runs without a fault; every planted bug found; the same seed, the same run."""

from collections import Counter

import pytest

from edgy_bus import telemetry
from tests.simulation.__main__ import Sum, run
from tests.simulation.arrivals import Arrivals
from tests.simulation.bugs import BUGS, FORGETS_AFTER, KEPT
from tests.simulation.found import known, search
from tests.simulation.programs import Programs
from tests.simulation.world import CHAOS, KINDS, Parts, simulate

LONG, SHORT = range(100), range(1_000_000, 1_000_600)
"""The seeds that `make test` runs; `make simulate ARGS="--seeds 10000"` runs as many as wanted."""


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("seeds", "seconds", "faults"), [(LONG, CHAOS, 5), (SHORT, 3.0, 1.4)])
def test_nothing_is_lost_reordered_or_done_twice(
    seeds: range, seconds: float, faults: float
) -> None:
    found = Sum()
    run(seeds, found, seconds)
    assert found.failed == {}
    assert found.commits > 3 * seconds * len(seeds), "too little happened for it to mean anything"
    assert sum(found.faults.values()) > faults * len(seeds)
    assert set(found.faults) == set(KINDS)
    assert found.redeliveries > len(seeds)
    assert found.decisions > len(seeds)
    assert found.deaths > len(seeds) / 10
    assert found.excused < found.decisions


@pytest.mark.timeout(1_200)
def test_an_inbox_that_forgets_does_nothing_twice() -> None:
    found, seeds = Sum(), range(60)
    run(seeds, found, parts=Parts(forgets_after=FORGETS_AFTER, faults=KEPT))
    assert found.failed == {}
    assert found.forgotten > len(seeds)


def test_a_worker_that_arrives_has_its_share_in_time_and_cancels_no_call() -> None:
    outcomes = [simulate(seed, kind=Arrivals) for seed in range(20)]
    assert [outcome.seed for outcome in outcomes if outcome.report.faults] == []
    assert sum(outcome.commits for outcome in outcomes) > 2_000, "calls of receivers"


@pytest.mark.timeout(1_200)
def test_programs_of_a_group_may_have_different_receivers() -> None:
    aside = Counter[str]()
    stop = telemetry.listen(lambda notice: aside.update([notice.name]))
    try:
        outcomes = [simulate(seed, kind=Programs) for seed in range(12)]
    finally:
        stop()
    assert [outcome.seed for outcome in outcomes if outcome.report.faults] == []
    assert aside["receiver.set_aside"] > 5 * len(outcomes)
    assert aside["receiver.returned"] > 2 * len(outcomes)


@pytest.mark.timeout(1_800)
def test_every_planted_bug_is_found() -> None:
    first = known()
    found = dict(search(list(BUGS), first))
    assert [name for name, seed in found.items() if seed is None] == []
    # A bug that is taken out is taken out of the file as well, for all to see.
    assert found.keys() == first.keys(), "write tests/simulation/found.json again"


def test_a_seed_replays_exactly() -> None:
    assert [simulate(seed).digest for seed in range(5)] == [
        simulate(seed).digest for seed in range(5)
    ]
    assert len({simulate(seed).digest for seed in range(5)}) == 5
