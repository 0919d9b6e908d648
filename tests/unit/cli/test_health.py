"""`edgy-bus health`: the exit status that a probe sees."""

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgy_bus.cli.app import app


def health(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["health", *arguments])
    return result.exit_code, result.output


def test_a_file_that_was_touched_lately_is_well(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.touch()
    assert health(str(file)) == (0, "")


def test_an_old_file_is_not(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.touch()
    os.utime(file, (time.time() - 100, time.time() - 100))
    status, output = health(str(file))
    assert status == 1
    assert "was touched 100 s ago, more than 30" in output
    assert health(str(file), "--max-age", "200")[0] == 0


def test_a_file_that_is_not_there_is_not(tmp_path: Path) -> None:
    status, output = health(str(tmp_path / "alive"))
    assert status == 1
    assert "has not started yet" in output


@pytest.mark.parametrize("command", ["worker", "relay", "demo", "health"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
