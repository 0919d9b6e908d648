"""The processes of a run: started, killed, stopped, and what they logged."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgy_bus.settings import FOLLOW_STDIN

_GRACE = 15.0


class Program:
    """One process of ours, whose output goes to a file."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.killed = False
        self._arguments = arguments
        self._environment = {**os.environ, FOLLOW_STDIN: "1", **environment}
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def died(self) -> bool:
        """Whether it ended without our doing."""
        return self._started.returncode is not None and not self.killed

    @property
    def log(self) -> str:
        """The end of what it logged."""
        return self._log.read_text(errors="replace")[-3000:]

    async def start(self) -> None:
        with self._log.open("wb") as output:
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
        """SIGKILL: no handler, no clean-up."""
        self.killed = True
        self._started.kill()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        process = self._process
        if process is None:
            return
        if process.returncode is None and not self.killed:
            self.killed = True
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    @property
    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process
