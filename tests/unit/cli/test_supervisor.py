"""The supervisor of several processes: their health files, and a process that has just ended."""

import asyncio
import sys
from pathlib import Path

import pytest

from edgy_bus.cli.health_file import read, write
from edgy_bus.cli.life import Life
from edgy_bus.cli.running import Stop
from edgy_bus.cli.supervisor import Command, supervise
from edgy_bus.cli.watch import Watch
from tests.support import eventually

IDLE = [sys.executable, "-c", "import time; time.sleep(60)"]
"""A program that shows no life."""


async def test_processes_of_a_former_program_do_not_count(tmp_path: Path, watch: Watch) -> None:
    health, files = tmp_path / "alive", [tmp_path / f"alive.{number}" for number in range(2)]
    for file in files:
        write(file, is_ready=True)
    stop = Stop(watch)
    supervising = asyncio.create_task(supervise(Command(IDLE, 2, 5.0), Life(health), stop))
    await eventually(health.exists)
    # The supervisor has looked at the files once by now: it does so before its first await.
    assert not any(read(file).is_ready for file in (health, *files))
    stop.asked.set()
    await supervising


class EndsBeforeTheSignal:
    """A process that ends between the look at the process and the signal."""

    pid = 0
    returncode: int | None = None

    def __init__(self) -> None:
        self._over = asyncio.Event()

    async def wait(self) -> int:
        await self._over.wait()
        return 0

    def send_signal(self, _: int) -> None:
        self._over.set()
        raise ProcessLookupError

    def kill(self) -> None:
        raise ProcessLookupError


async def test_a_process_that_ends_before_the_signal_is_no_error(
    monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    started = asyncio.Event()

    async def start(*_: object, **__: object) -> EndsBeforeTheSignal:
        started.set()
        return EndsBeforeTheSignal()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    stop = Stop(watch)
    supervising = asyncio.create_task(supervise(Command(IDLE, 1, 5.0), Life(None), stop))
    await started.wait()
    stop.asked.set()
    await supervising
