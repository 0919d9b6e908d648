"""Mistakes on the command line: the bus, the place, and the arguments of commands."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgy_bus.cli import main
from edgy_bus.loading import load_bus
from tests.mistakes.telling import PLAIN, tells

Run = Callable[..., str]

PROGRAM = """
import edgy_bus as edgy

bus = edgy.Bus("memory://", service="shop")
registry = edgy.Registry("sqlite:///shop.sqlite", bus=bus)
local = edgy.Bus(service="local")


class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)

    class Meta:
        registry = registry


def create_for(url):
    return bus


def main():
    raise SystemExit("the program ran")
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in the folder of a program; return what it says, after its status."""
    (tmp_path / "mistaken_shop.py").write_text(PROGRAM)
    (tmp_path / "mistaken_broken.py").write_text("import a_module_of_nobody\n")
    (tmp_path / "mistaken_failing.py").write_text("1 / 0\n")
    (tmp_path / "mistaken_empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("shop", "broken", "failing", "empty"):
        monkeypatch.delitem(sys.modules, f"mistaken_{name}", raising=False)

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code not in (0, None), "a mistake ends with a status other than 0"
        output = capsys.readouterr()
        return f"{output.out}{output.err}"

    return run


def start_once() -> None:
    """Start the service, which creates its tables."""
    bus = load_bus("mistaken_shop:bus")

    async def start() -> None:
        async with bus:
            await bus.registries[0].create_all()

    asyncio.run(start())


# MODULE:BUS


@tells("'mistaken_shop' does not name a bus", where="Error", do="MODULE:ATTRIBUTE")
def test_a_module_alone(run: Run) -> str:
    return run("worker", "mistaken_shop")


@tells("names a file", where="mistaken_shop.py", do="mistaken_shop:bus")
def test_a_file(run: Run) -> str:
    return run("worker", "mistaken_shop.py")


@tells("names a file", where="mistaken_shop.py:bus", do="mistaken_shop:bus")
def test_a_file_and_its_bus(run: Run) -> str:
    return run("worker", "mistaken_shop.py:bus")


@tells("there is no module 'mistaken_shopp'", where="looked in", do="did you mean 'mistaken_shop'?")
def test_a_misspelt_module(run: Run) -> str:
    return run("worker", "mistaken_shopp:bus")


@tells("has no 'buss'", where="mistaken_shop", do="it has the bus mistaken_shop:bus")
def test_a_misspelt_attribute(run: Run) -> str:
    return run("worker", "mistaken_shop:buss")


@tells("there is no Bus in that module", where="mistaken_empty", do=PLAIN)
def test_a_module_without_a_bus(run: Run) -> str:
    return run("worker", "mistaken_empty:bus")


@tells("is not a Bus but a value of type Registry", where="mistaken_shop:registry", do="it has")
def test_a_registry(run: Run) -> str:
    return run("worker", "mistaken_shop:registry")


@tells("is called without arguments", where="mistaken_shop:create_for", do="url")
def test_a_function_with_arguments(run: Run) -> str:
    return run("worker", "mistaken_shop:create_for")


@tells("is a function", where="mistaken_shop:main", do="create_…")
def test_another_function(run: Run) -> str:
    return run("worker", "mistaken_shop:main")


@tells("No module named 'a_module_of_nobody'", do=PLAIN)
def test_a_module_that_imports_in_vain(run: Run) -> str:
    return run("worker", "mistaken_broken:bus")


@tells("ZeroDivisionError", do=PLAIN)
def test_a_module_that_fails(run: Run) -> str:
    return run("worker", "mistaken_failing:bus")


@tells(
    "there is no module 'mistaken_shop_of_elsewhere'",
    where="looked in /",
    do="run the command in the folder of the program",
)
def test_another_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir("/")
    return run("worker", "mistaken_shop_of_elsewhere:bus")


@tells("Missing argument", where="MODULE:BUS", do="--help")
def test_no_bus(run: Run) -> str:
    return run("worker")


# Commands and options


@tells("No such command 'wroker'", where="COMMAND", do="Did you mean 'worker'?")
def test_a_misspelt_command(run: Run) -> str:
    return run("wroker", "mistaken_shop:bus")


@tells("No such option: --proceses", where="worker", do="--processes")
def test_a_misspelt_option(run: Run) -> str:
    return run("worker", "mistaken_shop:bus", "--proceses", "2")


@tells("Invalid value", where="--processes", do="valid integer")
def test_text_in_place_of_a_number(run: Run) -> str:
    return run("worker", "mistaken_shop:bus", "--processes", "many")


@tells("no receiver", where="worker", do="import their module")
def test_a_worker_without_receivers(run: Run) -> str:
    return run("worker", "mistaken_shop:bus")


@tells("no receiver runs in group 'mail'", where="groups", do="none")
def test_a_group_that_does_not_exist(run: Run) -> str:
    return run("worker", "mistaken_shop:bus", "--group", "mail")


@tells("there is no module 'receivers_of_nobody'", where="--import", do="looked in")
def test_a_missing_module_of_receivers(run: Run) -> str:
    return run("worker", "mistaken_shop:bus", "--import", "receivers_of_nobody")


@tells("local mode", where="this bus", do='Bus("redis://')
def test_a_worker_of_a_local_bus(run: Run) -> str:
    return run("worker", "mistaken_shop:local")


@tells("does not know the model shop.Usr", where="the broker", do="it knows")
def test_a_model_that_does_not_exist(run: Run) -> str:
    return run("trace", "mistaken_shop:bus", "shop.Usr", "3")


@tells("does not know the model User", where="the broker", do="it knows")
def test_a_model_without_its_service(run: Run) -> str:
    return run("trace", "mistaken_shop:bus", "User", "3")


@tells("is not a time", where="'yesterday'", do="write 30m, 2h, 7d")
def test_a_bad_time(run: Run) -> str:
    return run("replay", "mistaken_shop:bus", "--to", "shop/welcome", "--since", "yesterday")


@tells("has read a stream", where="no group 'shop'", do="the groups are: none")
def test_a_replay_for_nobody(run: Run) -> str:
    start_once()
    return run("replay", "mistaken_shop:bus", "--to", "shop/mial", "--since", "2h")


@tells("has read a stream", where="no group 'shop'", do="the groups are: none")
def test_a_backfill_for_nobody(run: Run) -> str:
    start_once()
    return run("backfill", "mistaken_shop:bus", "shop.User", "--to", "shop/mial")


@tells("is no address for HTTP", where="localhost:web", do="[HOST:]PORT")
def test_a_bad_address(run: Run) -> str:
    return run("worker", "mistaken_shop:bus", "--http", "localhost:web")


@tells("Redis does not answer", where="127.0.0.1:1", do=PLAIN)
def test_no_redis(run: Run) -> str:
    return run("status", "--broker", "redis://127.0.0.1:1/0")


@tells("a broker's URL is an option", where="status", do="write --broker URL")
def test_a_url_in_place_of_the_bus(run: Run) -> str:
    return f"status: {run('status', 'redis://127.0.0.1:1/0')}"


@tells("unknown broker scheme", where="'http'", do="redis://")
def test_a_wrong_url(run: Run) -> str:
    return run("status", "--broker", "http://127.0.0.1:1/0")
