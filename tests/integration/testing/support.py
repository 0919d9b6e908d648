"""Run pytest inside of a test."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run_pytest(
    pytester: pytest.Pytester, *arguments: str, here: bool = False
) -> pytest.RunResult:
    """Run pytest in a process of its own, or in this one, with the named plugins only."""
    with pytest.MonkeyPatch.context() as patch:
        # The plugin is named here, whether or not this environment has the entry point.
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        options = ("-p", "edgy_bus.testing.plugin", *arguments, "-W", "error")
        if here:
            return pytester.runpytest_inprocess(*options)
        return pytester.runpytest_subprocess(*options, timeout=100)
