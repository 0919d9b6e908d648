"""The index of decision records lists the records, and each record has its three parts."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))


def title(record: Path) -> tuple[str, str]:
    """Return number and title from the first line of a record."""
    heading = record.read_text("utf-8").partition("\n")[0]
    match = re.fullmatch(r"# (\d+)\. (.+)", heading)
    assert match is not None, f"{record.name} does not begin with '# N. Title'"
    return match[1], match[2]


def test_the_index_lists_every_record() -> None:
    page = (FOLDER / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[(\d+)\]\((\S+)\) \| (.+) \|$", page, re.MULTILINE)
    expected = [(title(record)[0], record.name, title(record)[1]) for record in RECORDS]
    assert rows == expected


def test_numbers_rise_without_gaps() -> None:
    numbers = [int(title(record)[0]) for record in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))
    assert [int(record.name[:4]) for record in RECORDS] == numbers


@pytest.mark.parametrize("record", [*RECORDS, FOLDER / "template.md"], ids=lambda path: path.name)
def test_a_record_has_status_and_three_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert re.search(r"^(Proposed|Accepted|Replaced by \d+),? ", text, re.MULTILINE)
    assert len(text) < 3_000, "a record is at most a page"
