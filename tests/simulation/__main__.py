"""`python -m tests.simulation --seeds 1000 --first 0`: as many runs as wanted, on all cores; whatever is found is told with its seed."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.world import Outcome, simulate


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=1_000)
    options.add_argument("--first", type=int, default=0)
    given = options.parse_args()
    began, commits, redeliveries, faults, failed = time.perf_counter(), 0, 0, Counter[str](), 0
    with ProcessPoolExecutor(max_tasks_per_child=200) as pool:
        seeds = range(given.first, given.first + given.seeds)
        for one in pool.map(simulate, seeds, chunksize=20):
            commits += one.commits
            redeliveries += one.report.redeliveries
            faults.update(one.faults)
            failed += bool(one.report.faults)
            _tell(one)
    sys.stdout.write(
        f"{given.seeds:,} seeds, {commits:,} commits, {sum(faults.values()):,} faults of {len(faults)} kinds, "
        f"{redeliveries:,} redeliveries, {failed} seeds with errors, {time.perf_counter() - began:.0f} s\n"
    )
    return int(bool(failed))


def _tell(one: Outcome) -> None:
    for kind, what in one.report.faults.items():
        sys.stdout.write(f"seed {one.seed}: {kind}: {', '.join(what[:3])} ({len(what)} in all)\n")


if __name__ == "__main__":
    sys.exit(main())
