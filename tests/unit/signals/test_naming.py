"""Durable names of receivers, and the identity of functions."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from edgy_bus.signals import Options, Receiver, Signal, naming
from edgy_bus.signals.naming import describe, identity

# The file alone, because programs that import the whole library take a second to start.
APP = """
import importlib.util, os

spec = importlib.util.spec_from_file_location("naming", os.environ["NAMING"])
naming = importlib.util.module_from_spec(spec)
spec.loader.exec_module(naming)

class Mailer:
    async def on_save(self, sender, **kwargs): ...
    async def __call__(self, sender, **kwargs): ...

async def welcome(sender, **kwargs): ...

def make():
    async def local(sender, **kwargs): ...
    return local

def names():
    functions = welcome, Mailer().on_save, Mailer(), make()
    return [naming.describe(function) for function in functions]

if __name__ == "__main__":
    print(names())
"""

NAMES = ["welcome", "Mailer.on_save", "Mailer", "make.<locals>.local"]


def output(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NAMING": naming.__file__},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    package = tmp_path / "shop" / "mails"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    (package / "app.py").write_text(APP)
    (package / "__main__.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["app.py"], "app"),
        (["./app.py"], "app"),
        (["-m", "app"], "app"),
        (["-c", "import app; print(app.names())"], "app"),
        (["-m", "shop.mails.app"], "shop.mails.app"),
        (["shop/mails/app.py"], "shop.mails.app"),
        (["-c", "import shop.mails.app as app; print(app.names())"], "shop.mails.app"),
        (["-m", "shop.mails"], "shop.mails.__main__"),
    ],
)
def test_a_name_is_the_same_whether_its_module_is_run_or_imported(
    folder: Path, arguments: list[str], module: str
) -> None:
    assert output(folder, *arguments) == str([f"{module}.{name}" for name in NAMES])


def test_code_that_nothing_can_import_keeps_the_name_of_the_program(folder: Path) -> None:
    assert output(folder, "-c", f"{APP}") == str([f"__main__.{name}" for name in NAMES])


def test_the_program_of_a_folder_keeps_its_name(folder: Path) -> None:
    plain = folder / "plain"
    plain.mkdir()
    (plain / "__main__.py").write_text(APP)
    assert output(folder, "plain") == str([f"__main__.{name}" for name in NAMES])


def test_processes_of_multiprocessing_use_the_same_names(folder: Path) -> None:
    (folder / "spawning.py").write_text(
        APP.replace("print(names())", "")
        + """
    import multiprocessing
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        print(pool.apply(names))
"""
    )
    assert output(folder, "spawning.py") == str([f"spawning.{name}" for name in NAMES])


async def hear(sender: object, **kwargs: object) -> None: ...


def test_a_receiver_keeps_the_name_that_it_had_when_it_was_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = ModuleType("__main__")
    program.__file__ = "/srv/app.py"
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(hear, "__module__", "__main__")
    receiver = Receiver(hear, Options())
    monkeypatch.undo()
    assert receiver.name == "app.hear"


@dataclass
class Unhashable:
    """As every dataclass that may be compared and changed."""

    address: str = "post@example.org"

    async def __call__(self, sender: object, **kwargs: object) -> None: ...


def test_functions_that_cannot_be_hashed_are_told_apart_by_identity() -> None:
    first, second = Unhashable(), Unhashable()
    assert first == second
    assert identity(first) == identity(first)
    assert hash(identity(first)) == hash(identity(first))
    assert identity(first) != identity(second)
    assert identity(describe) is describe


def test_a_receiver_that_cannot_be_hashed_is_connected_and_disconnected() -> None:
    signal, mailer = Signal(), Unhashable()
    signal.connect(mailer)
    signal.connect(mailer)
    assert [receiver.function for receiver in signal.receivers] == [mailer]
    assert signal.find(mailer).function is mailer
    assert signal.disconnect(mailer) is True
    assert signal.receivers == ()
