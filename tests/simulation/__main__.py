"""`python -m tests.simulation --seeds 1000 --first 0`: as many runs as wanted, on all cores; whatever is found is told with its seed."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from tests.simulation.world import CHAOS, Outcome, own_collecting, simulate

_POOL = 200
"""Runs of one pool: what they leave in memory makes every later collection slower. (`max_tasks_per_child` hangs on Python 3.11.)"""


@dataclass
class Sum:
    """What many runs showed."""

    seeds: int = 0
    commits: int = 0
    redeliveries: int = 0
    decisions: int = 0
    deaths: int = 0
    excused: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, one: Outcome) -> None:
        self.seeds += 1
        self.commits += one.commits
        self.redeliveries += one.report.redeliveries
        self.decisions += one.decisions
        self.deaths += one.deaths
        self.excused += one.report.excused
        self.faults.update(one.faults)
        if one.report.faults:
            self.failed[one.seed] = {kind: what[:3] for kind, what in one.report.faults.items()}


def run(seeds: Iterable[int], chaos: float = CHAOS) -> Sum:
    """Run seeds on all cores; things go wrong for `chaos` virtual seconds of each."""
    found = Sum()
    context = get_context("spawn")
    given = list(seeds)
    for first in range(0, len(given), _POOL):
        with ProcessPoolExecutor(mp_context=context, initializer=own_collecting) as pool:
            for one in pool.map(
                partial(simulate, chaos=chaos), given[first : first + _POOL], chunksize=10
            ):
                found.add(one)
                _tell(one)
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=1_000)
    options.add_argument("--first", type=int, default=0)
    options.add_argument(
        "--seconds",
        type=float,
        default=CHAOS,
        help="virtual seconds of a run in which things go wrong",
    )
    given = options.parse_args()
    began = time.perf_counter()
    found = run(range(given.first, given.first + given.seeds), given.seconds)
    sys.stdout.write(
        f"{found.seeds:,} seeds, {found.commits:,} commits, {sum(found.faults.values()):,} faults of {len(found.faults)} kinds, "
        f"{found.redeliveries:,} redeliveries, {found.decisions:,} decisions about held rows, {found.deaths:,} deaths of events, "
        f"{found.excused:,} parked events lost with Redis, {len(found.failed)} seeds with errors, {time.perf_counter() - began:.0f} s\n"
    )
    return int(bool(found.failed))


def _tell(one: Outcome) -> None:
    for kind, what in one.report.faults.items():
        sys.stdout.write(f"seed {one.seed}: {kind}: {', '.join(what[:3])} ({len(what)} in all)\n")


if __name__ == "__main__":
    sys.exit(main())
