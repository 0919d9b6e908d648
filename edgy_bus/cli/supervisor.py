"""Several worker processes under a supervisor, which starts, restarts and stops processes."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.cli.running import HEALTH_AGE, toucher
from edgy_bus.services import happens
from edgy_bus.settings import FOLLOW_STDIN
from edgy_bus.telemetry import catalogue

_LONGEST_PAUSE = 30.0
_STEADY = 60.0
"""Seconds of life after which the death of a process counts as its first."""


async def supervise(
    command: Sequence[str], count: int, grace: float, health: Path | None, stopping: asyncio.Event
) -> None:
    """Keep processes of a command running until the program is stopped.

    Args:
        command: the command, to which each process adds a health file of its own.
        count: the number of processes.
        grace: seconds between SIGTERM and SIGKILL.
        health: touched while every process touches its own health file.
        stopping: ends the supervision.
    """
    files = [
        None if health is None else health.with_name(f"{health.name}.{number}")
        for number in range(count)
    ]
    children = [_Child(command, file, grace, stopping) for file in files]
    async with asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(child.keep())
        while not stopping.is_set():
            # A single process that hangs makes the whole program unhealthy, so that it is
            # restarted.
            if all(file is None or _fresh(file) for file in files):
                toucher(health)()
            await happens(stopping, 2.0)


class _Child:
    """A process and its successors."""

    def __init__(
        self, command: Sequence[str], health: Path | None, grace: float, stopping: asyncio.Event
    ) -> None:
        self._command = [*command, *(["--health-file", str(health)] if health else [])]
        self._grace = grace
        self._stopping = stopping

    async def keep(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._live()
            if self._stopping.is_set():
                return
            telemetry.emit(catalogue.WorkerDied(status=status))
            # A program that dies at its start is restarted ever more slowly.
            pause = 1.0 if time.monotonic() - started > _STEADY else min(_LONGEST_PAUSE, pause * 2)
            await happens(self._stopping, pause)

    async def _live(self) -> int:
        """Run a process to its end, and return its exit status."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, FOLLOW_STDIN: "1"},
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which sends SIGTERM
        )
        ended = asyncio.create_task(process.wait())
        signalled = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((ended, signalled), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.send_signal(signal.SIGTERM)
                await asyncio.wait((ended,), timeout=self._grace)
        finally:
            # Also when the supervisor itself is cancelled: no process may outlive its supervisor.
            signalled.cancel()
            if process.returncode is None:
                process.kill()
        return await ended


def _fresh(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < HEALTH_AGE
    except FileNotFoundError:
        return False
