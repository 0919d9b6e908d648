import sys
from pathlib import Path

import pytest

from tests.runs import RECORD, Line, counting, read, record


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "runs.md"
    path.write_text("# Runs\n\n| date | commit |\n", encoding="utf-8")
    record("simulation", seeds=2_000, faults=21_000, events=400_000, errors=1, path=path)
    record("chaos", seeds=1, faults=900, events=50_000, errors=0, path=path)
    first, second = read(path.read_text(encoding="utf-8"))
    assert (first.kind, first.seeds, first.faults) == ("simulation", 2_000, 21_000)
    assert (first.events, first.errors) == (400_000, 1)
    assert (second.kind, second.seeds, second.faults, second.errors) == ("chaos", 1, 900, 0)


def test_the_command_of_a_line_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.md"
    monkeypatch.setattr(sys, "argv", ["run", "--seed", "3", "--kinds", "kill worker"])
    record("chaos", seeds=1, faults=1, events=1, errors=0, path=path)
    command = """make chaos ARGS="--seed 3 --kinds 'kill worker'\""""
    assert f"| `{command}` |" in path.read_text(encoding="utf-8")


def test_lines_count_for_code_that_has_not_changed_since() -> None:
    lines = [
        Line("2026-11-27", commit, changed, "chaos", 1, 1, 1, 0)
        for commit, changed in (("a", False), ("b", False), ("b", True))
    ]
    assert counting(lines, {"b", "c"}) == [lines[1]]


def test_the_record_can_be_read() -> None:
    text = RECORD.read_text(encoding="utf-8")
    table = text[text.index("## Runs by commit") :].splitlines()
    rows = [line for line in table if line.startswith("| 20")]
    assert len(read(text)) == len(rows)
