"""What an import costs: commands without a bus import no bus, and the public names come lazily."""

import copy
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgy_bus
from edgy_bus import api

HEAVY = {
    "aiosqlite",
    "asyncpg",
    "databases",
    "orjson",
    "redis",
    "sqlalchemy",
    "uvloop",
    "edgy_bus.api",
    "edgy_bus.bus",
    "edgy_bus.models",
}


def imported(code: str, *arguments: str, cwd: Path | None = None) -> set[str]:
    """Return the modules that a new process has imported when `code` ends."""
    report = (
        "import atexit, sys; atexit.register(lambda: print('\\n', *sys.modules, file=sys.stderr))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{report}\n{code}", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=cwd,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_a_probe_imports_the_parser_of_the_standard_library_only(tmp_path: Path) -> None:
    (tmp_path / "health").touch()
    modules = imported("from edgy_bus.cli import main; main()", "health", str(tmp_path / "health"))
    assert "edgy_bus.cli.health" in modules
    assert not modules & (HEAVY | {"asyncio", "click", "pydantic", "rich", "typer"})


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("worker", "--help")])
def test_an_explanation_imports_no_bus(arguments: tuple[str, ...]) -> None:
    modules = imported("from edgy_bus.cli import main; main()", *arguments)
    assert "edgy_bus.cli.commands" in modules
    assert not modules & (HEAVY | {"asyncio"})


def test_a_completion_imports_no_bus() -> None:
    code = (
        "import os; os.environ.update(_EDGY_BUS_COMPLETE='complete_bash',"
        "COMP_WORDS='edgy-bus re', COMP_CWORD='1')\n"
        "sys.argv[0] = 'edgy-bus'\n"
        "from edgy_bus.cli import main; main()"
    )
    assert not imported(code) & HEAVY


def test_the_package_alone_imports_nothing() -> None:
    modules = imported("import edgy_bus; edgy_bus.__version__; hasattr(edgy_bus, '__wrapped__')")
    assert {name for name in modules if name.startswith("edgy_bus.")} == set()


@pytest.mark.parametrize("name", api.__all__)
def test_a_public_name_is_the_object_of_its_module(name: str) -> None:
    assert getattr(edgy_bus, name) is getattr(api, name)


def test_no_public_name_is_the_name_of_a_submodule() -> None:
    # The import of a submodule would put the module in the place of the object.
    submodules = {module.name for module in pkgutil.iter_modules(edgy_bus.__path__)}
    assert not submodules & set(api.__all__)


def test_names_are_listed_and_starred() -> None:
    names: dict[str, object] = {}
    exec("from edgy_bus import *", names)
    assert set(api.__all__) == names.keys() - {"__builtins__"}
    assert {*api.__all__, "__version__"} <= set(dir(edgy_bus))
    assert edgy_bus.__all__ == api.__all__


@pytest.mark.parametrize("name", ["Buss", "__wrapped__", "__path_"])
def test_an_unknown_name_is_an_error_that_names_the_package(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'edgy_bus' has no attribute '{name}'"):
        getattr(edgy_bus, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from edgy_bus import {name}")


@pytest.mark.parametrize(
    "code",
    [
        "import edgy_bus.signals; import edgy_bus as edgy; edgy.retry(after=1); edgy.Bus()",
        "import edgy_bus; edgy_bus.models.Model; edgy_bus.Bus()",
        "from edgy_bus import telemetry, Bus; Bus(); telemetry.emit",
        "from edgy_bus.bus import Bus; import edgy_bus; assert edgy_bus.Bus is Bus",
        "import importlib, edgy_bus; edgy_bus.Bus; importlib.reload(edgy_bus).Bus",
    ],
)
def test_every_order_of_imports_works(code: str) -> None:
    assert "edgy_bus.bus" in imported(code)


def test_names_and_classes_keep_their_identity() -> None:
    for value in (
        edgy_bus.Retry(attempts=3),
        edgy_bus.RelaySettings(),
        edgy_bus.Bus,
        edgy_bus.retry,
    ):
        restored = pickle.loads(pickle.dumps(value))
        assert restored == value
        assert copy.copy(value) == value
    assert edgy_bus.Bus.__module__ == "edgy_bus.bus"


def test_threads_get_the_same_objects_at_their_first_use() -> None:
    code = (
        "import threading, edgy_bus\n"
        "names = ['Bus', 'Model', 'retry', 'Event'] * 4\n"
        "gate, found, errors = threading.Barrier(len(names)), [], []\n"
        "def look(name):\n"
        "    gate.wait()\n"
        "    try: found.append((name, getattr(edgy_bus, name)))\n"
        "    except BaseException as error: errors.append(error)\n"
        "threads = [threading.Thread(target=look, args=(name,)) for name in names]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert not errors, errors\n"
        "assert len(set(map(str, found))) == 4\n"
    )
    assert "edgy_bus.bus" in imported(code)
