"""Run many seeds on all cores, print every error with its seed, and add a line to docs/runs.md.

Usage: `python -m tests.simulation --seeds 1000 --first 0`.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

from tests.runs import record
from tests.simulation.world import CHAOS, Outcome, Parts, own_collecting, simulate

_POOL = 200
"""Runs of one process pool; objects that runs leave behind slow every later garbage collection.

`max_tasks_per_child` is not used, because the option hangs on Python 3.11.
"""


@dataclass
class Sum:
    """Sum up the outcomes of many runs."""

    seeds: int = 0
    commits: int = 0
    redeliveries: int = 0
    decisions: int = 0
    deaths: int = 0
    excused: int = 0
    forgotten: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: dict[int, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        report = outcome.report
        self.seeds += 1
        self.commits += outcome.commits
        self.redeliveries += report.redeliveries
        self.decisions += outcome.decisions
        self.deaths += outcome.deaths
        self.excused += report.excused
        self.forgotten += outcome.forgotten
        self.faults.update(outcome.faults)
        if report.faults:
            self.failed[outcome.seed] = {kind: errors[:3] for kind, errors in report.faults.items()}

    def describe(self) -> str:
        """Return the totals as a line for people."""
        faults = sum(self.faults.values())
        return (
            f"{self.seeds:,} seeds, {self.commits:,} commits, "
            f"{faults:,} faults of {len(self.faults)} kinds, "
            f"{self.redeliveries:,} redeliveries, "
            f"{self.decisions:,} decisions about held rows, {self.deaths:,} deaths of events, "
            f"{self.excused:,} parked events lost with Redis, {len(self.failed)} seeds with errors"
        )


def run(seeds: Iterable[int], total: Sum, chaos: float = CHAOS, parts: Parts | None = None) -> None:
    """Run seeds on all cores, each with faults for `chaos` virtual seconds; add them to `total`."""
    context = get_context("spawn")
    numbers = list(seeds)
    simulate_seed = partial(simulate, parts=parts, chaos=chaos)
    for first in range(0, len(numbers), _POOL):
        with ProcessPoolExecutor(mp_context=context, initializer=own_collecting) as pool:
            part = numbers[first : first + _POOL]
            for outcome in pool.map(simulate_seed, part, chunksize=10):
                total.add(outcome)
                _print_errors(outcome)


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
    options.add_argument(
        "--no-record", dest="records", action="store_false", help="add no line to docs/runs.md"
    )
    arguments = options.parse_args()
    began = time.perf_counter()
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    total = Sum()
    try:
        run(seeds, total, arguments.seconds)
    finally:
        # Also when the run is interrupted: the seeds that have ended count.
        sys.stdout.write(f"{total.describe()}, {time.perf_counter() - began:.0f} s\n")
        if arguments.records:
            record(
                "simulation",
                seeds=total.seeds,
                faults=sum(total.faults.values()),
                events=total.commits,
                errors=len(total.failed),
            )
    return int(bool(total.failed))


def _print_errors(outcome: Outcome) -> None:
    for kind, errors in outcome.report.faults.items():
        examples = ", ".join(errors[:3])
        sys.stdout.write(f"seed {outcome.seed}: {kind}: {examples} ({len(errors)} in all)\n")


if __name__ == "__main__":
    sys.exit(main())
