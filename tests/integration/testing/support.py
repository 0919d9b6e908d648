"""Run pytest inside of a test."""

from pathlib import Path

import pytest

# A run in this process forgets what it has imported: these modules must be the same in every run.
import edgy_bus.api
import edgy_bus.database.backends.sqlite
import edgy_bus.testing.finding
import edgy_bus.testing.redis  # noqa: F401

ROOT = Path(__file__).parents[3]

ANYIO = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
"""A conftest.py for anyio."""

STRICT = tuple(
    option
    for name in ("ResourceWarning", "RuntimeWarning", "pytest.PytestUnraisableExceptionWarning")
    for option in ("-W", f"error::{name}")
)
"""Options for pytest by which nothing that is left open passes."""


def run_pytest(pytester: pytest.Pytester, *arguments: str, here: bool = False) -> pytest.RunResult:
    """Run pytest in a process of its own, or in this one, with the named plugins only."""
    with pytest.MonkeyPatch.context() as patch:
        # The plugin is named here, whether or not this environment has the entry point.
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        options = ("-p", "edgy_bus.testing.plugin", *arguments, *STRICT)
        if here:
            return pytester.runpytest_inprocess(*options)
        return pytester.runpytest_subprocess(*options, timeout=100)
