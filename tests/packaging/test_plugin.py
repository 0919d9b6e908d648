"""pytest finds the plugin of the testing kit by an entry point."""

import importlib
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    plugin = importlib.import_module(project["entry-points"]["pytest11"]["edgy_bus"])
    assert callable(plugin.pytest_addoption)
    assert plugin.CHAOS == "edgy_bus_chaos"
