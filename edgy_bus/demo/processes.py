"""Start, kill and stop the processes of a run, and read their logs."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgy_bus.environment import FOLLOW_STDIN

_GRACE = 15.0
"""Seconds between SIGTERM and SIGKILL; longer than the workers' own grace."""


class Program:
    """Run `edgy-bus` with arguments in a process, with a log file.

    Args:
        name: a name for messages and for the log file.
        arguments: the arguments of `edgy-bus`.
        environment: variables in addition to those of this process.
        folder: the directory for the log file.
    """

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.stopped = False
        """Whether the demonstration itself has killed or stopped the process."""
        self._arguments = arguments
        # With FOLLOW_STDIN the program ends when this process dies, no matter how: its standard
        # input is a pipe from here.
        self._environment = {**os.environ, FOLLOW_STDIN: "1", **environment}
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._started_process.pid

    @property
    def died(self) -> bool:
        """Return whether the process ended without `kill` or `stop`."""
        return self._started_process.returncode is not None and not self.stopped

    @property
    def log(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-3000:]

    async def start(self) -> None:
        """Start the process."""
        with self._log.open("wb") as output:
            # A session of its own: Ctrl-C at the terminal reaches only the demonstration, which
            # then stops its programs in order.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "edgy_bus",
                *self._arguments,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL, which allows no clean-up."""
        self.stopped = True
        self._started_process.kill()

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if the process has not ended after a while."""
        process = self._process
        if process is None:
            return
        if process.returncode is None and not self.stopped:
            self.stopped = True
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _started_process(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process
