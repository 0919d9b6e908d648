"""Hold the package to its limits of density, names and words, and list the worst places.

To see the figures of a part: `python -m tests.style.aesthetics edgy_bus/database`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import pytest

from tests.style import aesthetics
from tests.style.aesthetics import Measure, Module
from tests.style.parts import PACKAGE, PARTS, PENDING, ROOT, modules_of

SMALL = 200
"""Code lines below which a share says little: a single place would exceed its limit."""

SHOWN = 25
"""Places that a failure lists."""


class Scope(Enum):
    """Say which parts a limit applies to."""

    EVERY_PART = auto()
    LARGE_PARTS = auto()
    WHOLE_PACKAGE = auto()


@dataclass(frozen=True)
class Limit:
    """Name a measure and the range of its figure."""

    name: str
    measure: Callable[[Sequence[Module]], Measure]
    most: float
    least: float = 0
    scope: Scope = Scope.LARGE_PARTS

    def __str__(self) -> str:
        return self.measure.__name__.strip("_")

    def applies_to(self, part: str) -> bool:
        """Return whether the limit holds for a part of this name."""
        if part == PACKAGE or self.scope is Scope.EVERY_PART:
            return True
        large = aesthetics.code_lines(modules_of(part)) >= SMALL
        return self.scope is Scope.LARGE_PARTS and large


def _large_classes(modules: Sequence[Module]) -> Measure:
    # A model and its query set have the operations of the API that this library follows.
    return aesthetics.large_classes(modules, exempt=("Model", "QuerySet"))


LIMITS = [
    Limit("statements with > 20 syntax nodes a line, %", aesthetics.dense_statements, 0.4),
    Limit("code lines of > 100 characters, %", aesthetics.long_lines, 0.3),
    Limit("comment lines per 100 code lines", aesthetics.comment_density, 15, least=5),
    Limit("pronouns per 100 words of prose", aesthetics.pronouns, 1.5),
    Limit("vague names among variables, %", aesthetics.vague_names, 0.3),
    Limit("docstrings of functions without a verb, %", aesthetics.docstrings_without_verb, 1),
    Limit("`Any` per 1,000 code lines", aesthetics.anys, 25),
    Limit("size of an import cycle", aesthetics.import_cycles, 0, scope=Scope.WHOLE_PACKAGE),
    Limit("functions of > 50 lines", aesthetics.long_functions, 0, scope=Scope.EVERY_PART),
    Limit("classes of > 24 methods", _large_classes, 0, scope=Scope.EVERY_PART),
    Limit(
        "modules without docstring", aesthetics.missing_module_docstrings, 0, scope=Scope.EVERY_PART
    ),
]


CASES = [
    pytest.param(limit, part, id=f"{part}-{limit}")
    for part in PARTS
    if part not in PENDING
    for limit in LIMITS
    if limit.applies_to(part)
]


@pytest.mark.parametrize(("limit", "part"), CASES)
def test_every_part_keeps_the_limits(limit: Limit, part: str) -> None:
    result = limit.measure(modules_of(part))
    kept = limit.least <= result.figure <= limit.most
    assert kept, _complaint(limit, result)


def _complaint(limit: Limit, result: Measure) -> str:
    """Say which limit is broken, and where."""
    allowed = f"{limit.least:g} to {limit.most:g}" if limit.least else f"at most {limit.most:g}"
    figure = f"{limit.name}: {result.figure:.2f}"
    first_line = f"{figure}, allowed: {allowed}. Worst places:"
    return "\n".join([first_line, *map(str, result.places[:SHOWN])])


@pytest.mark.skipif(PACKAGE in PENDING, reason="the rewrite of the facade is not finished")
def test_the_facade_is_short() -> None:
    lines = (ROOT / PACKAGE / "bus.py").read_text("utf-8").splitlines()
    assert len(lines) <= 200, f"{PACKAGE}/bus.py has {len(lines)} lines: it is only a facade"
