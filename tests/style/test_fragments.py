"""Changelog fragments have a valid name and a short text; changelog.d/README.md describes both."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "changelog.d"
LONGEST = 600
WIDEST = 100

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["towncrier"]
TYPES = [entry["directory"] for entry in SETTINGS["type"]]
NAME = re.compile(rf"(\d+|\+[a-z][a-z0-9-]*)\.({'|'.join(TYPES)})(\.\d+)?\.md")


def faults(name: str, text: str) -> list[str]:
    """Return what is wrong with a fragment, in words for its author."""
    complaints = []
    if not NAME.fullmatch(name):
        complaints.append(
            f"{name}: the name is not ISSUE.TYPE.md with a type of {', '.join(TYPES)}"
        )
    if not text.strip():
        complaints.append(f"{name}: the text is empty")
    if len(text) > LONGEST:
        complaints.append(f"{name}: {len(text)} characters, at most {LONGEST} are allowed")
    if any(len(line) > WIDEST for line in text.splitlines()):
        complaints.append(f"{name}: a line is longer than {WIDEST} characters")
    if text.lstrip().startswith(("#", "- ", "* ")):
        complaints.append(f"{name}: the text begins with a heading or a bullet")
    return complaints


def test_every_fragment_is_valid() -> None:
    fragments = [path for path in FOLDER.iterdir() if path.name != "README.md"]
    complaints = [
        complaint
        for path in sorted(fragments)
        for complaint in faults(path.name, path.read_text("utf-8"))
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("name", ["16.added.md", "16.added.2.md", "+slow-query.fixed.md"])
def test_a_valid_fragment_passes(name: str) -> None:
    assert faults(name, "The relay publishes twice as fast.\n") == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("16.improved.md", "Faster.", "the name is not"),
        ("sixteen.added.md", "Faster.", "the name is not"),
        ("16.added.note.md", "Faster.", "the name is not"),
        ("16.added", "Faster.", "the name is not"),
        ("16.added.md", " \n", "the text is empty"),
        ("16.added.md", "word " * 200, "at most 600"),
        ("16.added.md", "x" * 101, "longer than 100"),
        ("16.added.md", "- Faster.", "a bullet"),
    ],
)
def test_an_invalid_fragment_is_refused(name: str, text: str, complaint: str) -> None:
    assert any(complaint in fault for fault in faults(name, text))


def test_every_type_is_described() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == TYPES


def test_towncrier_assembles_the_fragments(tmp_path: Path) -> None:
    """A release moves the text of each fragment below the marker of CHANGELOG.md."""
    for name in ("pyproject.toml", "CHANGELOG.md"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"))
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    (folder / "README.md").write_text((FOLDER / "README.md").read_text("utf-8"))
    (folder / "7.added.md").write_text("A new option.\n")
    (folder / "7.fixed.2.md").write_text("A repaired error.\n")
    command = (sys.executable, "-m", "towncrier", "build", "--yes", "--version", "9.9.9")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, rest = (tmp_path / "CHANGELOG.md").read_text("utf-8").partition("## 9.9.9 (")
    assert head.endswith("<!-- the newest release comes here -->\n\n")
    assert "- A new option. (#7)" in rest.partition("## Development")[0]
    assert "- A repaired error. (#7)" in rest.partition("## Development")[0]
    assert [path.name for path in folder.iterdir()] == ["README.md"]
