"""Every command and every option of a command that the documents name exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from edgy_bus.cli.app import app

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A command ends where its line, its code or the next command of a shell begins.
NAMED = re.compile(r"edgy-bus ([a-z][^`\n|&;#]*)")


class Named(NamedTuple):
    """A command of a page, with the words behind it."""

    page: str
    words: list[str]


def named(page: Path) -> Iterator[Named]:
    for match in NAMED.finditer(page.read_text("utf-8")):
        yield Named(str(page.relative_to(ROOT)), match[1].split())


def complaint(words: list[str]) -> str | None:
    """Return what is wrong with a command line, or None."""
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not words:
            return None
        found = command.commands.get(words[0])
        if found is None:
            return f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    if command.name == "health":
        return None  # a probe has a parser of its own (edgy_bus/cli/health.py)
    options = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        option = re.match(r"--[a-z][a-z-]*", word)
        if option and option[0] not in options | {"--help"}:
            return f"{command.name} has no option {option[0]}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(page: Path) -> None:
    wrong = [(line.words, complaint(line.words)) for line in named(page)]
    assert not [pair for pair in wrong if pair[1]]


def test_wrong_commands_are_found() -> None:
    assert complaint(["reply", "app:bus"]) == "there is no command 'reply'"
    assert complaint(["dead", "burn"]) == "there is no command 'burn'"
    assert complaint(["status", "app:bus", "--wat"]) == "status has no option --wat"
    assert complaint(["status", "app:bus", "--watch"]) is None
