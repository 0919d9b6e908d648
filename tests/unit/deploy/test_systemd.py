"""The units of systemd start what the command line has, and leave time to stop."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgy_bus.cli.app import app
from edgy_bus.settings import WorkerSettings

UNITS = sorted((Path(__file__).parents[3] / "deploy" / "systemd").glob("*.service"))
STOPS = {"worker": WorkerSettings().grace + 15, "relay": 15.0}
"""Seconds until a program has ended, at most (docs/deployment.md)."""


def service_of(unit: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(unit)
    # Its keys are those of the file in any case of letters, `ExecStart` as well as `execstart`.
    return parser["Service"]


def program_of(unit: Path) -> str:
    named = re.fullmatch(r"edgy-bus-(\w+)@", unit.stem)
    assert named is not None
    return named[1]


def test_there_is_a_unit_for_each_program_that_runs_until_it_is_stopped() -> None:
    assert {program_of(unit) for unit in UNITS} == {"worker", "relay"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_calls_a_command_and_leaves_it_time_to_stop(unit: Path) -> None:
    service, program = service_of(unit), program_of(unit)
    commands = {command.name for command in app.registered_commands}
    assert program in commands
    assert service["ExecStart"].split()[1:3] == [program, "$BUS"]
    assert float(service["TimeoutStopSec"]) > STOPS[program]
    assert service["RestartPreventExitStatus"] == "2", "a mistake in the configuration"
    assert service["User"] != "root"
    assert service["NoNewPrivileges"] == "yes"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian's package systemd)",
)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name.replace("@", "@mail")
    # The program is not installed here.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy.write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in done.stderr.splitlines() if copy.name in line]
    assert complaints == []
