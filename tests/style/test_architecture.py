"""ARCHITECTURE.md describes the code as it is: files, parts, and the calls of the hot path."""

import ast
import importlib
import inspect
import re
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from edgy_bus.telemetry import catalogue
from tests.style.parts import PACKAGE, ROOT, modules_of

PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
MAP = (
    ast.get_docstring(ast.parse((ROOT / PACKAGE / "runtime/__init__.py").read_text("utf-8"))) or ""
)

_FILE = re.compile(r"[\w/.]+\.(?:py|lua|sql)\b")
_NAME = r"[A-Za-z]\w*\.[A-Za-z_]\w*"
_CALL = re.compile(rf"^([ │├└─]*)({_NAME})")


def _homes() -> dict[str, tuple[str, str | None]]:
    """Return the classes and modules of the package by name, without the package's folders."""
    homes: dict[str, tuple[str, str | None]] = {}
    for module in modules_of(PACKAGE):
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, (module.name, node.name))
        homes.setdefault(module.name.rpartition(".")[2], (module.name, None))
    return homes


HOMES = _homes()


def find(name: str) -> Any:
    """Return the function that `Class.method` or `module.function` names; None if there is none."""
    home, _, function = name.partition(".")
    module, owner = HOMES.get(home, ("edgy_bus", None))
    place: Any = importlib.import_module(module)
    return getattr(getattr(place, owner) if owner else place, function, None)


def names_in(function: Any) -> set[str]:
    """Return the names of functions, methods and values that the body of a function mentions."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name)
    }


@dataclass(frozen=True)
class Call:
    """Hold a line of the call diagram: a function, and the function that calls it."""

    caller: str | None
    callee: str

    def __str__(self) -> str:
        return f"{self.caller}-{self.callee}"


def calls(diagram: str) -> Iterator[Call]:
    """Yield the calls of a diagram, in which a function stands to the right below its caller."""
    callers: list[tuple[int, str]] = []
    for line in diagram.splitlines():
        match = _CALL.match(line)
        if match is None:
            # A line without a call, empty lines among them, ends the tree.
            if not line.strip(" │"):
                callers.clear()
            continue
        indent = len(match[1])
        while callers and callers[-1][0] >= indent:
            callers.pop()
        yield Call(callers[-1][1] if callers else None, match[2])
        callers.append((indent, match[2]))


def _diagram() -> str:
    _, _, section = PAGE.partition("### The hot path")
    return section.split("```")[1]


CALLS = list(calls(_diagram()))


def test_the_diagram_is_read() -> None:
    """A change of its form must not leave the tests below without calls."""
    assert len(CALLS) > 30
    assert sum(call.caller is None for call in CALLS) < 8


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_every_call_of_the_diagram_happens(call: Call) -> None:
    assert find(call.callee) is not None, f"there is no {call.callee}"
    if call.caller is not None:
        name = call.callee.rpartition(".")[2]
        assert name in names_in(find(call.caller)), f"{call.caller} does not call {call.callee}"


@pytest.mark.parametrize("name", sorted(set(re.findall(rf"\b{_NAME}\b", MAP))))
def test_every_function_in_the_map_of_the_runtime_exists(name: str) -> None:
    assert find(name) is not None


def _attributes(owner: Any) -> set[str]:
    """Return the attributes of a class that its methods and annotations name."""
    source = textwrap.dedent(inspect.getsource(owner))
    return set(re.findall(r"(?:self\.|^    )(\w+)\b", source, re.MULTILINE))


_NOTICES = {getattr(entry, "name", None) for entry in vars(catalogue).values()}
_NAMED = {name for name in re.findall(rf"`({_NAME})`", PAGE) if name.split(".")[0] in HOMES}


@pytest.mark.parametrize("name", sorted(_NAMED - _NOTICES - set(_FILE.findall(PAGE))))
def test_every_name_in_the_text_exists(name: str) -> None:
    home, _, attribute = name.partition(".")
    module, owner = HOMES[home]
    place: Any = importlib.import_module(module)
    if owner is not None:
        place = getattr(place, owner)
    names = _attributes(place) if owner is not None else set()
    assert hasattr(place, attribute) or attribute in names, f"there is no {name}"


def test_every_file_of_the_page_exists() -> None:
    files = {str(path.relative_to(ROOT)) for path in ROOT.glob("edgy_bus/**/*.*")}
    files |= {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/*.py")}
    missing = [
        name
        for name in _FILE.findall(PAGE)
        if not any(f"/{each}".endswith(f"/{name}") for each in files)
    ]
    assert not missing


def _section_of_parts() -> str:
    _, _, section = PAGE.partition("\n## Parts\n")
    return section.partition("\n## ")[0]


def test_the_layers_of_the_page_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    # `core` is Edgy's import path, which the text below the picture describes.
    expected = [set(re.findall(r"\w+", layer)) for layer in contract["layers"] if layer != "core"]
    picture = _section_of_parts().split("```")[1].strip("\n")
    layers = [re.split(r"(?<=\w)  +", line.strip())[0] for line in picture.splitlines()]
    assert [set(re.findall(r"\w+", layer)) for layer in layers] == expected


@pytest.mark.parametrize("folder", ["runtime", "cli"])
def test_the_page_has_every_file_of_a_large_part(folder: str) -> None:
    _, _, table = _section_of_parts().partition(f"| files in `{folder}/` |")
    named = set(re.findall(r"`(\w+)`", table.partition("\n\n")[0]))
    files = {path.stem for path in (ROOT / PACKAGE / folder).glob("*.py")} - {"__init__"}
    assert named == files


def test_the_page_has_every_part() -> None:
    section = _section_of_parts()
    parts = {
        path.stem
        for path in (ROOT / PACKAGE).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    missing = [part for part in sorted(parts) if not re.search(rf"\b{part}\b", section)]
    assert missing == ["__init__", "__main__"]
