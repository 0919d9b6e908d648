"""An incident, from outside: an operator has the commands, and nothing else."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import _loaded
from tests.acceptance.programs import Program, program
from tests.support import eventually

ORDERS = 5


@dataclass
class Site:
    """The folder of the programs, and the commands of an operator who has Redis alone."""

    folder: Path
    environment: dict[str, str]

    def start(self, *words: str) -> Any:
        return program(*words, folder=self.folder, **self.environment)

    def command(self, *words: str, folder: str | Path = "/") -> tuple[int, Any]:
        """Run a command as an operator does; return its status and its answer."""
        done = subprocess.run(
            [sys.executable, "-m", "edgy_bus", *words, "--json"],
            cwd=folder,
            env={**self.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    def handled(self) -> list[tuple[int, int]]:
        file = self.folder / "handled.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(json.loads(line)) for line in lines]


@pytest.fixture
def site(tmp_path: Path, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    shutil.copy(Path(__file__).with_name("incident.py"), tmp_path)
    environment = {"EDGY_BUS_BROKER": redis_url, "INCIDENT_PREFIX": prefix}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = str(Path(__file__).parents[2])
    return Site(tmp_path, {**environment, "PYTHONPATH": root})


def trace_what_happened(site: Site, operator: tuple[str, ...], order: int) -> None:
    """Ask for a row and for an event, with the program's bus and with Redis alone."""
    status, answer = site.command(
        "trace", "incident:bus", "shop.Order", str(order), folder=site.folder
    )
    journeys = answer["data"]["journeys"]
    assert (status, answer["data"]["unreachable"]) == (0, [])
    assert [each["event"]["signal"] for each in journeys] == ["post_save", *["post_update"] * 2]
    assert all(each["letters"][0]["receiver"] == "ship" for each in journeys)
    event_id = journeys[1]["event"]["id"]
    for where in (("incident:bus",), operator):
        status, answer = site.command("trace", *where, event_id, folder=site.folder)
        (letter,) = answer["data"]["journey"]["letters"]
        assert (status, letter["event_id"]) == (0, event_id)
        assert "503" in letter["reason"]
    assert site.command("trace", *operator, "01890000-0000-7000-8000-000000000000")[0] == 1


@pytest.fixture
def programs(site: Site) -> Iterator[list[Program]]:
    with site.start("relay", "incident:bus") as relay, site.start("worker", "incident:bus") as one:
        yield [relay, one]


async def test_an_incident_ends_with_every_event_handled_in_order(
    site: Site, prefix: str, programs: list[Program]
) -> None:
    operator = ("--prefix", prefix)
    (site.folder / "broken").touch()
    with chdir(site.folder):
        module = _loaded(site.folder / "incident.py")
        async with module.bus:
            orders = [await module.Order.query.create() for _ in range(ORDERS)]
            for state in (1, 2):
                for order in orders:
                    await order.update(state=state)

            def count() -> int:
                return int(site.command("dead", "list", *operator)[1]["data"]["count"])

            await eventually(lambda: count() == 3 * ORDERS, "the dead letters")
            status, answer = site.command("dead", "list", *operator)
            (failure,) = answer["data"]["failures"]
            assert (status, failure["receiver"], failure["count"]) == (1, "ship", 3 * ORDERS)
            assert "503" in failure["reason"]
            assert site.handled() == []

            trace_what_happened(site, operator, orders[0].id)
            (site.folder / "broken").unlink()
            for order in orders:
                await order.update(state=3)
            await eventually(lambda: len(site.handled()) == ORDERS, "the events after the mend")
            status, answer = site.command("dead", "replay", "--all", "--yes", *operator)
            assert (status, answer["data"]["replayed"]) == (0, 3 * ORDERS)
            for order in orders:
                await order.update(state=4)
            await eventually(lambda: len(site.handled()) == 5 * ORDERS, "every event")

    handled = site.handled()
    for order in orders:
        states = [state for key, state in handled if key == order.id]
        assert sorted(states) == [0, 1, 2, 3, 4], "each event once"
        assert [state for state in states if state <= 2] == [0, 1, 2], "letters in order"
        assert states.index(3) < states.index(4)
    assert site.command("dead", "list", *operator)[0] == 0
    assert site.command("held", *operator)[0] == 0
    for one in programs:
        assert one.terminate() == 0
