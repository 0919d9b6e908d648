"""Measure, print a table, and say which goals were missed: `python -m benchmarks.ordinary`."""

import argparse
import sys
from collections.abc import Callable

from benchmarks.ordinary.commands import commands
from benchmarks.ordinary.goal import Figure, table
from benchmarks.ordinary.memory import memory
from benchmarks.ordinary.neighbours import neighbours
from benchmarks.ordinary.resting import resting
from benchmarks.ordinary.strange import strange
from benchmarks.suite.place import Place, place

SECTIONS: dict[str, Callable[[Place], list[Figure]]] = {
    "commands": commands,
    "memory": memory,
    "resting": resting,
    "neighbours": neighbours,
    "strange": strange,
}


def main() -> int:
    """Return the exit status: 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="sections, with commas: " + ", ".join(SECTIONS))
    chosen = parser.parse_args().only
    names = chosen.split(",") if chosen else list(SECTIONS)
    with place() as where:
        figures = [figure for name in names for figure in SECTIONS[name](where)]
    print(table(figures))
    return int(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
