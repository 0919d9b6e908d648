"""Every page is in the navigation of the site, and the glossary is that of ARCHITECTURE.md."""

import re
from typing import Any

import pytest
import yaml

from tests.style.parts import ROOT

CONFIGURATION = (ROOT / "mkdocs.yml").read_text("utf-8")


def pages_of(item: Any) -> list[str]:
    """Return the pages of a part of the navigation."""
    if isinstance(item, str):
        return [item]
    parts = item.values() if isinstance(item, dict) else item
    return [page for part in parts for page in pages_of(part)]


WRITTEN_BY_THE_SITE = (ROOT / "docs" / "site" / "reference.py").read_text("utf-8")
NAVIGATION = pages_of(yaml.safe_load(CONFIGURATION)["nav"])


def test_every_page_is_in_the_navigation() -> None:
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    # Records are reached by their index.
    written -= {page for page in written if re.fullmatch(r"adr/(\d{4}-.*|template)\.md", page)}
    assert not written - {*NAVIGATION}, "mkdocs.yml has no line for these pages"


@pytest.mark.parametrize("page", NAVIGATION)
def test_every_line_of_the_navigation_has_its_page(page: str) -> None:
    # ARCHITECTURE.md and its neighbours stand outside of docs/ (docs/site/hooks.py).
    exists = (ROOT / "docs" / page).exists() or (ROOT / page).exists()
    assert exists or f'"{page}"' in WRITTEN_BY_THE_SITE


def test_the_glossary_has_the_words_of_the_architecture() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    section = architecture.partition("\n## Words\n")[2].partition("\n## ")[0]
    words = [line for line in section.splitlines() if line.startswith("| ")][2:]
    glossary = (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()
    rows = [line for line in glossary if line.startswith("| ")][2:]
    assert len(words) > 30
    assert rows == sorted(words, key=str.lower)
