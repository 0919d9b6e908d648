"""Test the measures: each counts a planted offence, and names its line."""

from pathlib import Path
from textwrap import dedent

import pytest

from tests.style import aesthetics
from tests.style.aesthetics import Measure, Module

CLEAN = '''\
"""Do nothing."""

# A reason.
answer = 42


def double(number: int) -> int:
    """Return twice a number."""
    return 2 * number
'''


def parse(folder: Path, **sources: str) -> list[Module]:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(dedent(source))
    return aesthetics.read(folder, relative_to=folder)


@pytest.mark.parametrize("name", list(aesthetics.MEASURES))
def test_a_clean_module_breaks_nothing(name: str, tmp_path: Path) -> None:
    result = aesthetics.MEASURES[name](parse(tmp_path, clean=CLEAN))
    assert result.figure == (100 / 3 if "comment" in name else 0)


@pytest.mark.parametrize(
    ("name", "source", "line", "reason"),
    [
        (
            "statements > 20 nodes a line, %",
            "value = 0\nvalue = a + b + c + d + e + f + g + h",
            2,
            "24 syntax nodes on 1 line(s)",
        ),
        ("code lines > 100 characters, %", f"value = '{'x' * 91}'", 1, "101 characters"),
        ("comment lines per 100 code lines", "value = 1", 1, "0 comment lines for 1 code lines"),
        ("pronouns per 100 words", "# Whoever reads it knows.", 1, "2 pronoun(s): whoever, it"),
        ("vague variable names, %", "def f(given):\n    pass", 1, "the name 'given'"),
        ("vague variable names, %", "for one in ():\n    pass", 1, "the name 'one'"),
        (
            "docstrings without a verb, %",
            'def f():\n    """The answer."""',
            1,
            "the docstring of f begins with 'The', not a verb",
        ),
        ("Any per 1,000 code lines", "value: Any", 1, "value: Any"),
        ("functions > 50 lines", "def f():" + "\n    pass" * 50, 1, "f has 51 lines"),
        (
            "classes > 24 methods",
            "class A:" + "".join(f"\n    def f{n}(self): ..." for n in range(25)),
            1,
            "A has 25 methods",
        ),
        ("modules without docstring", "a = 1\n" * 4, 1, "no module docstring"),
    ],
)
def test_an_offence_is_counted_and_named(
    name: str, source: str, line: int, reason: str, tmp_path: Path
) -> None:
    result = aesthetics.MEASURES[name](parse(tmp_path, offence=source))
    assert str(result.places[0]) == f"offence.py:{line}: {reason}"
    assert result.figure > 0 or "comment" in name


def test_docstrings_and_pragmas_are_neither_code_nor_comments(tmp_path: Path) -> None:
    source = '''\
    """Say
    nothing."""
    value = 1  # noqa: X
    # A reason
    # on two lines.
    """Documents the value."""
    '''
    [module] = parse(tmp_path, module=source)
    assert module.lines.code == {3}
    assert module.lines.comments == {4, 5}
    assert [line for line, _ in module.lines.prose] == [1, 4, 6]
    assert module.lines.prose[1][1] == "A reason on two lines."


def cycle_of(folder: Path, **sources: str) -> Measure:
    return aesthetics.import_cycles(parse(folder, **sources))


def test_an_import_for_typing_or_inside_a_function_makes_a_cycle(tmp_path: Path) -> None:
    result = cycle_of(
        tmp_path,
        first="from second import x",
        second="if TYPE_CHECKING:\n    import third",
        third="def f():\n    from first import y",
    )
    assert result.figure == 3
    assert result.places[0].reason == "import cycle: first, second, third"


def test_imports_in_one_direction_make_no_cycle(tmp_path: Path) -> None:
    assert cycle_of(tmp_path, first="import second", second="import os").figure == 0


def test_a_class_can_be_exempt(tmp_path: Path) -> None:
    modules = parse(
        tmp_path, a="class A:" + "".join(f"\n    def f{n}(self): ..." for n in range(25))
    )
    assert aesthetics.large_classes(modules, exempt=("A",)).figure == 0
