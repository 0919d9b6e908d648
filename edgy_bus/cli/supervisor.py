"""Several worker processes under a supervisor, which starts, restarts and stops processes."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.cli.child import Child
from edgy_bus.cli.health_file import Reading, read
from edgy_bus.cli.life import Life
from edgy_bus.cli.metrics_file import ChildMetrics
from edgy_bus.cli.running import MARGIN, Stop
from edgy_bus.environment import METRICS_FILE
from edgy_bus.health import HEALTH_AGE
from edgy_bus.services import happens
from edgy_bus.telemetry import catalogue

_LONGEST_PAUSE = 30.0
_STEADY = 60.0
"""Seconds of life after which the death of a process counts as its first."""
_LOOK = 2.0
"""Seconds between two looks at the health files."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that several processes run.

    Attributes:
        words: the command, to which each process adds a health file of its own.
        count: the number of processes.
        grace: seconds between SIGTERM and SIGKILL.
        patience: seconds without progress after which a process that has worked is replaced.
    """

    words: Sequence[str]
    count: int
    grace: float
    patience: float


async def supervise(
    command: Command, life: Life, stop: Stop, metrics: ChildMetrics | None = None
) -> None:
    """Keep processes of a command running until the program is stopped.

    Args:
        command: the command.
        life: shows progress while every process writes its own health file, if there is one.
        stop: ends the supervision; an end at once kills the processes.
        metrics: takes the metrics of the processes.
    """
    health = life.path
    files = [
        None if health is None else health.with_name(f"{health.name}.{number}")
        for number in range(command.count)
    ]
    metrics_files = [None] * command.count if metrics is None else metrics.files
    places = [
        _Place(command, Files(file, metrics_file), stop.asked, metrics)
        for file, metrics_file in zip(files, metrics_files, strict=True)
    ]

    def kill(_: str) -> None:
        for place in places:
            place.kill()

    stop.before_leaving(kill)
    stop.may_take(command.grace + MARGIN)
    life.progress()
    for place in places:
        place.forget_health()
    async with asyncio.TaskGroup() as group:
        for place in places:
            group.create_task(place.keep())
        while not stop.asked.is_set():
            _show_life(life, [file for file in files if file is not None])
            await happens(stop.asked, _LOOK)


def _show_life(life: Life, files: Sequence[Path]) -> None:
    """Show the life that all processes show together.

    A single process that hangs makes the whole program unhealthy, so that it is restarted.
    """
    readings = [_read(file) for file in files]
    now = time.time()
    if all(reading is not None and now - reading.written < HEALTH_AGE for reading in readings):
        life.progress(
            is_ready=all(reading is not None and reading.is_ready for reading in readings)
        )


class Silence:
    """Counts for how long a process that has worked makes no progress.

    Args:
        patience: seconds without progress after which the process hangs.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._written = 0.0
        self._silent = 0.0

    def hangs(self, reading: Reading | None, seconds: float) -> bool:
        """Take the health file as it is, `seconds` after the last look at it."""
        # A start may take as long as it needs: imports, hooks, a database that is away.
        if reading is None or not reading.is_ready or reading.written != self._written:
            self._written = 0.0 if reading is None else reading.written
            self._silent = 0.0
            return False
        # Counted in looks, not by the clock: a machine that was suspended has hung no process.
        self._silent += seconds
        return self._silent >= self._patience


@dataclass(frozen=True, slots=True)
class Files:
    """The files that a process writes for its supervisor."""

    health: Path | None
    metrics: Path | None


class _Place:
    """A process and its successors."""

    def __init__(
        self,
        command: Command,
        files: Files,
        stopping: asyncio.Event,
        metrics: ChildMetrics | None,
    ) -> None:
        health = self._health = files.health
        self._command = [*command.words, *(["--health-file", str(health)] if health else [])]
        self._grace = command.grace
        self._patience = command.patience
        self._stopping = stopping
        self._metrics = metrics
        self._metrics_file = files.metrics
        self._child: Child | None = None

    def forget_health(self) -> None:
        """Reset the health file: what a former process left is not the state of the next one."""
        Life(self._health).progress()

    def kill(self) -> None:
        """End the process at once; called from another thread than that of the event loop."""
        if self._child is not None:
            self._child.kill_from_thread()

    async def keep(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._live()
            if self._metrics is not None and self._metrics_file is not None:
                self._metrics.retire(self._metrics_file)
            if self._stopping.is_set():
                return
            telemetry.emit(catalogue.WorkerDied(status=status))
            self.forget_health()
            # A program that dies at its start is restarted ever more slowly.
            pause = 1.0 if time.monotonic() - started > _STEADY else min(_LONGEST_PAUSE, pause * 2)
            await happens(self._stopping, pause)

    async def _live(self) -> int:
        """Run a process to its end, and return its exit status."""
        metrics = self._metrics_file
        environment = {} if metrics is None else {METRICS_FILE: str(metrics)}
        child = self._child = await Child.start(self._command, environment)
        signalled = asyncio.create_task(self._stopping.wait())
        hung = asyncio.create_task(self._hang())
        try:
            await asyncio.wait((child.ended, signalled, hung), return_when=asyncio.FIRST_COMPLETED)
            # A process that hangs would not answer SIGTERM either.
            if hung.done():
                telemetry.emit(catalogue.WorkerHung(pid=child.pid, seconds=self._patience))
            elif not child.ended.done():
                await child.end(self._grace)
        finally:
            # Also when the supervisor itself is cancelled: no process may outlive its supervisor.
            signalled.cancel()
            hung.cancel()
            child.kill()
        return await child.ended

    async def _hang(self) -> None:
        """Return when the process hangs."""
        silence = Silence(self._patience)
        while True:
            reading = None if self._health is None else _read(self._health)
            if silence.hangs(reading, _LOOK):
                return
            await asyncio.sleep(_LOOK)


def _read(file: Path) -> Reading | None:
    try:
        return read(file)
    except OSError:
        return None
