"""`edgy-bus health`: the exit status that a probe sees; and the file that programs write."""

import os
import time
from pathlib import Path

import pytest

from edgy_bus.cli import main
from edgy_bus.cli.health_file import READY, STARTING, read, write
from edgy_bus.cli.life import Life
from tests.support import Told


def health(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    with pytest.raises(SystemExit) as caught:
        main(["health", *arguments])
    return caught.value.code, capsys.readouterr().err


def test_a_file_that_was_touched_lately_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "alive"
    file.touch()  # by a program of the user's
    assert health(capsys, str(file)) == (0, "")


def test_an_old_file_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "alive"
    file.touch()
    os.utime(file, (time.time() - 100, time.time() - 100))
    status, error = health(capsys, str(file))
    assert status == 1
    assert "has made no progress for 100 s, more than 30" in error
    assert health(capsys, str(file), "--max-age", "200")[0] == 0


def test_a_file_that_is_not_there_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = health(capsys, str(tmp_path / "alive"))
    assert status == 1
    assert "has not started yet" in error


def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = health(capsys, str(tmp_path))
    assert status == 1
    assert "cannot be read: Is a directory" in error


def test_readiness_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "alive"
    life = Life(file)
    life.progress()
    assert health(capsys, str(file)) == (0, "")
    status, error = health(capsys, str(file), "--ready")
    assert status == 1
    assert "is not ready" in error
    life.progress(is_ready=True)
    assert health(capsys, "--ready", str(file)) == (0, "")


@pytest.mark.parametrize("age", ["-1", "nan", "inf", "soon"])
def test_a_wrong_age_is_a_wrong_call(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert health(capsys, "alive", f"--max-age={age}")[0] == 2


@pytest.mark.parametrize("command", ["worker", "relay", "demo", "health", "held", "release"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert command in capsys.readouterr().out


# The file


def test_what_a_former_program_left_is_not_ready(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    file.write_bytes(READY + b"and more")
    Life(file).progress()
    assert file.read_bytes() == STARTING


def test_a_written_file_has_the_present_time(tmp_path: Path) -> None:
    file = tmp_path / "alive"
    write(file, is_ready=True)
    os.utime(file, (1, 1))
    write(file, is_ready=True)
    assert time.time() - read(file).written < 60


def test_a_file_that_cannot_be_written_ends_nothing_and_is_reported_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    life = Life(folder / "alive")
    with Told() as told:
        life.progress()
        life.progress(is_ready=True)
        assert told.all == [
            (
                "health.failed",
                {"path": str(folder / "alive"), "error": "No such file or directory"},
            )
        ]
        folder.mkdir()
        life.progress()
        life.progress()
    assert told.names() == ["health.failed", "health.written"]
    assert read(folder / "alive").is_ready


def test_a_full_disk_ends_nothing() -> None:
    with Told() as told:
        Life(Path("/dev/full")).progress()
    assert [fields["error"] for fields in told.of("health.failed")] == ["No space left on device"]


def test_without_a_file_nothing_is_written() -> None:
    with Told() as told:
        Life(None).progress(is_ready=True)
    assert not told.all
