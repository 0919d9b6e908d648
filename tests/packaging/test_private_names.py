"""Private names of other libraries are listed in pyproject.toml, at a dependency with a ceiling."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {path: ast.parse(path.read_text("utf-8")) for path in ROOT.glob("edgy_bus/**/*.py")}
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")

PYTHON = {"_asdict", "_current_frames", "_exit", "_fields", "_make", "_replace"}
"""Names of Python's own library."""


def _is_private(name: str) -> bool:
    return re.match(r"_[a-zA-Z]", name) is not None or name.startswith("__pydantic_")


def _mentioned(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a module reads from other objects and modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if _is_private(alias.name))


def _made(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module makes: functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr


OURS = {name for tree in SOURCES.values() for name in _made(tree)}
FOREIGN = {name for tree in SOURCES.values() for name in _mentioned(tree)} - OURS - PYTHON


def _dependencies() -> Iterator[tuple[str, str]]:
    """Yield each requirement of pyproject.toml with the comment that stands before it."""
    comment: list[str] = []
    for line in map(str.strip, PYPROJECT.splitlines()):
        if line.startswith("#"):
            comment.append(line)
        elif match := re.match(r'"([^"]+)",', line):
            yield match[1], " ".join(comment)
            comment = []
        else:
            comment = []


def test_the_names_are_found() -> None:
    assert {"_generate_cache_key", "_con", "__pydantic_core_schema__"} <= FOREIGN
    assert "_broker" not in FOREIGN


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_private_name_is_listed_at_a_dependency_with_a_ceiling(name: str) -> None:
    owners = [each for each, comment in _dependencies() if re.search(rf"\b{name}\b", comment)]
    assert owners, f"list {name} in the comment of a dependency in pyproject.toml"
    assert all("<" in owner for owner in owners), f"{owners} need an upper bound"
