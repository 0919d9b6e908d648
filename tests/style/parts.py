"""Divide the package into parts, and read the modules of a part."""

from functools import cache
from pathlib import Path

from tests.style import aesthetics
from tests.style.aesthetics import Module

ROOT = Path(__file__).parents[2]
PACKAGE = "edgy_bus"
MODULES = "modules"
"""The part that consists of the modules directly in the package."""

PENDING = frozenset(
    [
        PACKAGE,
        MODULES,
        "operations",
        "outbox",
        "runtime",
        "telemetry",
    ]
)
"""Parts whose rewrite is not finished, which are not measured; empty this set when it is."""


def _parts() -> dict[str, list[Path]]:
    """Return the paths of every part: the package, its folders, and its modules together."""
    package = ROOT / PACKAGE
    folders = [path.parent for path in sorted(package.glob("*/__init__.py"))]
    parts = {folder.name: [folder] for folder in folders}
    return {PACKAGE: [package], MODULES: sorted(package.glob("*.py")), **parts}


PARTS = _parts()


@cache
def modules_of(part: str) -> list[Module]:
    """Parse the modules of a part, with paths relative to the repository."""
    return aesthetics.read(*PARTS[part], relative_to=ROOT)
