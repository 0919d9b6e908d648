"""The supervisor of several processes: their health files, and a process that has just ended."""

import asyncio
import sys
from pathlib import Path

import pytest

from edgy_bus import telemetry
from edgy_bus.cli import supervisor
from edgy_bus.cli.health_file import Reading, read, write
from edgy_bus.cli.life import Life
from edgy_bus.cli.running import Stop
from edgy_bus.cli.supervisor import Command, Silence, supervise
from edgy_bus.cli.watch import Watch
from edgy_bus.telemetry import Notice, catalogue
from tests.support import eventually

IDLE = [sys.executable, "-c", "import time; time.sleep(60)"]
"""A program that shows no life."""


async def test_processes_of_a_former_program_do_not_count(tmp_path: Path, watch: Watch) -> None:
    health, files = tmp_path / "alive", [tmp_path / f"alive.{number}" for number in range(2)]
    for file in files:
        write(file, is_ready=True)
    stop = Stop(watch)
    supervising = asyncio.create_task(supervise(Command(IDLE, 2, 5.0, 60.0), Life(health), stop))
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
    supervising = asyncio.create_task(supervise(Command(IDLE, 1, 5.0, 60.0), Life(None), stop))
    await started.wait()
    stop.asked.set()
    await supervising


HANGING = [
    sys.executable,
    "-c",
    "import sys, time; open(sys.argv[-1], 'w').write('ready\\n'); time.sleep(60)",
]
"""A program that works once, and then makes no progress."""


async def test_a_process_that_hangs_is_replaced(
    tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_LOOK", 0.02)
    notices: list[Notice] = []
    stop_listening = telemetry.listen(notices.append)
    stop, life = Stop(watch), Life(tmp_path / "alive")
    supervising = asyncio.create_task(supervise(Command(HANGING, 1, 5.0, 0.2), life, stop))

    def hung() -> list[int]:
        return [notice.pid for notice in notices if isinstance(notice, catalogue.WorkerHung)]

    await eventually(lambda: len(hung()) == 2)
    stop.asked.set()
    await supervising
    stop_listening()
    assert len(set(hung())) == 2, "each was another process"
    assert any(isinstance(notice, catalogue.WorkerDied) for notice in notices)


async def test_a_process_that_starts_is_not_ready_because_its_predecessor_was(
    tmp_path: Path, watch: Watch
) -> None:
    once = [
        sys.executable,
        "-c",
        "import os, sys, time\n"
        "file = sys.argv[-1]\n"
        "if os.path.exists(file + '.done'): time.sleep(60)\n"
        "open(file, 'w').write('ready\\n')\n"
        "open(file + '.done', 'w')\n",
    ]
    stop = Stop(watch)
    supervising = asyncio.create_task(
        supervise(Command(once, 1, 5.0, 60.0), Life(tmp_path / "alive"), stop)
    )
    await eventually((tmp_path / "alive.0.done").exists)
    await eventually(lambda: not read(tmp_path / "alive.0").is_ready, "the second process")
    stop.asked.set()
    await supervising


READY, STARTING = Reading(100.0, is_ready=True), Reading(100.0, is_ready=False)


@pytest.mark.parametrize(
    ("readings", "hangs"),
    [
        ([READY, READY, READY], False),
        ([READY, READY, READY, READY], True),
        ([READY, READY, READY, Reading(102.0, is_ready=True), READY], False),
        ([STARTING] * 9, False),
        ([None] * 9, False),
        ([READY, READY, READY, STARTING, READY, READY], False),
        ([READY, READY, READY, None, READY, READY, READY], False),
    ],
)
def test_only_a_process_that_has_worked_hangs(readings: list[Reading | None], hangs: bool) -> None:
    silence = Silence(patience=6.0)
    assert [silence.hangs(reading, 2.0) for reading in readings][-1] is hangs
