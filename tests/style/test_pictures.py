"""Every picture that a document shows is there, small, and shown by a document."""

import re

import pytest

from tests.style.parts import ROOT

PICTURES = ROOT / "docs" / "pictures"

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")])

_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")

MOST_BYTES = 150_000

SHOWN = {
    (document.parent / address).resolve(): document.name
    for document in DOCUMENTS
    for address in _PICTURE.findall(document.read_text("utf-8"))
    if "://" not in address
}


@pytest.mark.parametrize("picture", SHOWN, ids=lambda each: each.name)
def test_a_picture_that_a_document_shows_is_there(picture: object) -> None:
    assert picture in SHOWN
    assert picture.is_file(), f"{SHOWN[picture]} shows {picture}: make pictures"  # type: ignore[attr-defined]


def test_the_pictures_are_few_and_small_and_all_are_shown() -> None:
    pictures = set(PICTURES.glob("*"))
    assert 1 <= len(pictures) <= 4
    assert pictures <= SHOWN.keys()
    assert all(picture.stat().st_size < MOST_BYTES for picture in pictures)
