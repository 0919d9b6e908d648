"""Measure two checkouts back to back: `python -m benchmarks.suite.compare OLD NEW`.

OLD and NEW are folders with an `edgy_bus` package. Both are measured with the benchmarks beside
this file. The checkouts take turns, each turn in a process of its own. The table compares their
ratios to the same work by hand.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.suite.check import PARTS, change
from benchmarks.suite.kept import ALLOWED_FALL

_BENCHMARKS = Path(__file__).parents[1]


@dataclass
class Checkout:
    """A checkout, and its ratios of every turn."""

    name: str
    folder: Path
    commit: str = ""
    loads: list[float] = field(default_factory=list)
    ratios: dict[str, list[float]] = field(default_factory=dict)

    def add(self, answer: Mapping[str, Any]) -> None:
        """Add a turn. Raises `RuntimeError` if the turn measured another package."""
        wanted = str((self.folder / "edgy_bus").resolve())
        if answer["package"] != wanted:
            raise RuntimeError(f"{answer['package']} was measured instead of {wanted}")
        self.commit = answer["commit"]
        if answer["load"] is not None:
            self.loads.append(answer["load"])
        for name, value in answer["ratios"].items():
            if value is not None:
                self.ratios.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        values = self.ratios.get(name)
        return statistics.median(values) if values else None


def stage(folder: Path, checkout: Path) -> Path:
    """Join a checkout's package with these benchmarks in an empty folder, by symbolic links.

    The checkout may have benchmarks of its own, so its folder cannot be on the path.
    """
    (folder / "edgy_bus").symlink_to((checkout / "edgy_bus").resolve(), target_is_directory=True)
    (folder / "benchmarks").symlink_to(_BENCHMARKS.resolve(), target_is_directory=True)
    return folder


def python(folder: Path, *arguments: str) -> str:
    """Run Python in a staged folder; return its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def turn(checkout: Checkout, options: Sequence[str]) -> None:
    """Measure a checkout once."""
    with tempfile.TemporaryDirectory(prefix="edgy-bus-compare-") as folder:
        staged = stage(Path(folder), checkout.folder)
        output = python(staged, "-m", "benchmarks.suite.check", "--json", *options)
    checkout.add(json.loads(output.splitlines()[-1]))


def rows(old: Checkout, new: Checkout) -> list[list[str]]:
    """Return the lines of the table: medians, their spread, and the change."""
    names = [name for part in PARTS.values() for name in part.ratios]
    return [
        [name, _text(old, name), _text(new, name), change(old.median(name), new.median(name))]
        for name in names
        if name in old.ratios or name in new.ratios
    ]


def fallen(old: Checkout, new: Checkout) -> list[str]:
    """Return the ratios that fell by more than `make bench-check` allows, or are missing."""
    names = []
    for name in old.ratios:
        before, now = old.median(name), new.median(name)
        if before is not None and (now is None or now < before * (1 - ALLOWED_FALL)):
            names.append(name)
    return names


def _text(checkout: Checkout, name: str) -> str:
    median, values = checkout.median(name), checkout.ratios.get(name, [])
    if median is None:
        return "not measured"
    span = f"{min(values):.4f} to {max(values):.4f}"
    return f"{median:.4f} ({span})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-compare ARGS=…", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--turns", type=int, default=3, help="of each checkout")
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds of every contender in a turn")
    asked = parser.parse_args()
    old, new = Checkout("old", asked.old), Checkout("new", asked.new)
    options = ["--only", asked.only]
    options += [] if asked.rounds is None else ["--rounds", str(asked.rounds)]
    console = Console(stderr=True)
    for number in range(asked.turns):
        for checkout in (old, new) if number % 2 == 0 else (new, old):
            progress = f"turn {number + 1} of {asked.turns}: {checkout.name}"
            console.print(progress, highlight=False)
            turn(checkout, options)
    heads = (f"{old.name}, {old.commit}", f"{new.name}, {new.commit}")
    table = Table("ratio to the same work by hand", *heads, "change")
    for row in rows(old, new):
        table.add_row(*row)
    Console(width=100).print(table)
    for checkout in (old, new):
        loads = ", ".join(f"{load:.2f}" for load in checkout.loads)
        console.print(f"{checkout.name}: other programs used {loads} of a core", highlight=False)
    names = fallen(old, new)
    if names:
        console.print(f"fell by more than {ALLOWED_FALL:.0%}: {', '.join(names)}", highlight=False)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
