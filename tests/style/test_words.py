"""Keep phrases out of docstrings, comments and documents that a reader has to decode.

Each phrase has a replacement in plain technical English.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style.parts import PACKAGE, PARTS, PENDING, ROOT, modules_of

BANNED = {
    r"hears? of|heard of|hearing of": "receives, learns of, is reported",
    r"(?:is|are|was|were|be|been) told": "receives, gets, is reported",
    r"tells? of|told of": "reports, describes",
    r"sees? to it": "ensure that",
    r"whatever (?:is|was|happens|happened|dies|crashes)": "no matter how, no matter what crashes",
    r"whoever|who ever": "name the actor: the caller, a worker, an operator",
    r"somebody|someone": "name the actor: the caller, another process, an operator",
    r"nobody's": "name the owner, or say that there is no owner",
    r"there (?:is|are|was|were) none|of none|has none|have none": "say what is missing: no row, …",
    r"of ours": "of edgy_bus, of this library",
    r"(?:dies?|died|dying) of": "crash: an event that crashes its worker",
    r"gone for good": "that does not come back",
    r"once more": "again",
    r"be it|as it were|as it stands": "leave the phrase out",
    r"by and by|meanwhile and": "over time, in the meantime",
}
"""Patterns of phrases, with the words to use instead."""

DOCUMENTS_PENDING = frozenset[str]()
"""Documents whose rewrite is not finished, which are not searched; empty this set when it is."""

# A phrase may be broken over two lines.
_PHRASES = [phrase.replace(" ", r"\s+") for phrase in BANNED]
_PATTERN = re.compile("|".join(rf"(\b(?:{phrase})\b)" for phrase in _PHRASES), re.IGNORECASE)
_ADVICE = list(BANNED.values())
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`[^`\n]*`|\"[^\"\n]*\"")


def complaints(text: str, path: Path, first_line: int = 1) -> Iterator[str]:
    """Yield a line for every banned phrase of a text. Code and quotations are left out."""
    # Names of planted bugs and texts of messages are quoted, and have to be quoted exactly. Removed
    # text keeps its line breaks, so that line numbers stay right.
    for pattern in (_FENCED, _QUOTED):
        text = pattern.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _PATTERN.finditer(text):
        line = first_line + text.count("\n", 0, match.start())
        advice = _ADVICE[(match.lastindex or 1) - 1]
        phrase = " ".join(match[0].split())
        yield f"{path}:{line}: {phrase!r}: {advice}"


@pytest.mark.parametrize("part", [part for part in PARTS if part not in PENDING | {PACKAGE}])
def test_the_package_uses_plain_words(part: str) -> None:
    lines = [
        complaint
        for module in modules_of(part)
        for first_line, text in module.lines.prose
        for complaint in complaints(text, module.path, first_line)
    ]
    assert not lines, "\n".join(lines)


def _documents() -> list[str]:
    documents = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]
    documents += [ROOT / "README.md", ROOT / "ARCHITECTURE.md"]
    return sorted(str(document.relative_to(ROOT)) for document in documents)


@pytest.mark.parametrize("name", [name for name in _documents() if name not in DOCUMENTS_PENDING])
def test_the_documents_use_plain_words(name: str) -> None:
    lines = list(complaints((ROOT / name).read_text("utf-8"), Path(name)))
    assert not lines, "\n".join(lines)


def test_a_banned_phrase_is_reported_with_its_line_and_a_replacement() -> None:
    text = 'Plain.\n`heard of`, "heard of"\n```\nheard of\n```\nThe worker is\nTold so.'
    lines = list(complaints(text, Path("page.md")))
    assert lines == ["page.md:6: 'is Told': receives, gets, is reported"]


@pytest.mark.parametrize(
    "phrase", ["they heard of it", "Whoever reads", "there is none", "of ours"]
)
def test_every_kind_of_phrase_is_found(phrase: str) -> None:
    assert len(list(complaints(phrase, Path("page.md")))) == 1
