"""The record of long runs, docs/runs.md: each run of simulation or chaos appends a line.

    python -m tests.runs        sums up the lines since the last change of the mechanisms

A long run is made in pieces, on any day and any machine: different seeds, one line each. Lines from
before a change of what they prove do not count for the code of today.
"""

import datetime as dt
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "docs" / "runs.md"
MECHANISMS = ("edgy_bus/runtime", "edgy_bus/outbox", "edgy_bus/brokers")
"""What the runs prove. Lines of a commit before the last change of these do not count."""

_FIELDS = ("seeds", "faults", "events", "errors")
_LINE = re.compile(r"\| (\d{4}-\d\d-\d\d) \| `(\w+)`(\+?) \| (\w+) \|" + r" ([\d,]+) \|" * 4)


@dataclass(frozen=True)
class Line:
    """A line of the record.

    Attributes:
        kind: `simulation` or `chaos`.
        commit: the abbreviated commit of the code that ran.
        changed: whether mechanisms had changes that were not committed.
        seeds: how many seeds ran.
        faults: how many faults were injected.
        events: how many events were committed.
        errors: how many seeds had errors; for chaos, how many events and programs, and how many
            measures of the run were too small for it to mean anything.
        command: how the run can be repeated.
    """

    date: str
    commit: str
    changed: bool
    kind: str
    seeds: int
    faults: int
    events: int
    errors: int
    command: str = ""

    def __str__(self) -> str:
        numbers = " | ".join(f"{getattr(self, name):,}" for name in _FIELDS)
        commit = f"`{self.commit}`{'+' if self.changed else ''}"
        return f"| {self.date} | {commit} | {self.kind} | {numbers} | `{self.command}` |"


def record(
    kind: str, *, seeds: int, faults: int, events: int, errors: int, path: Path = RECORD
) -> None:
    """Append a line about a run of this checkout with the arguments of this process."""
    line = Line(
        dt.date.today().isoformat(),
        _git("rev-parse", "--short=9", "HEAD").strip(),
        bool(_git("status", "--porcelain", "--", *MECHANISMS).strip()),
        kind,
        seeds,
        faults,
        events,
        errors,
        f'make {"simulate" if kind == "simulation" else kind} ARGS="{shlex.join(sys.argv[1:])}"',
    )
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def read(text: str) -> list[Line]:
    """Return the lines of a record."""
    return [_line(found) for found in _LINE.finditer(text)]


def _line(found: re.Match[str]) -> Line:
    date, commit, changed, kind, *numbers = found.groups()
    values = [int(number.replace(",", "")) for number in numbers]
    return Line(date, commit, bool(changed), kind, *values)


def counting(lines: list[Line], commits: set[str]) -> list[Line]:
    """Return the lines that count for the code of today.

    Args:
        lines: the record.
        commits: the abbreviated commits since the last change of the mechanisms, with that change.
    """
    return [line for line in lines if line.commit in commits and not line.changed]


def _since_last_change() -> set[str]:
    last = _git("log", "-1", "--format=%H", "--", *MECHANISMS).strip()
    later = _git("log", "--format=%H", f"{last}..HEAD").split()
    return {commit[:9] for commit in (last, *later)}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    sums: dict[str, Counter[str]] = {}
    for line in counting(read(RECORD.read_text(encoding="utf-8")), _since_last_change()):
        numbers = {name: getattr(line, name) for name in _FIELDS}
        sums.setdefault(line.kind, Counter()).update(numbers)
    sys.stdout.write(f"since the last change of {', '.join(MECHANISMS)}:\n")
    for kind, numbers in sorted(sums.items()):
        parts = ", ".join(f"{numbers[name]:,} {name}" for name in _FIELDS)
        sys.stdout.write(f"{kind}: {parts}\n")


if __name__ == "__main__":
    main()
