"""A process that this program starts, and that does not outlive the program."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

from edgy_bus.environment import FOLLOW_STDIN


class Child:
    """A process of the program.

    Attributes:
        ended: done when the process has ended; the result is the exit status.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, words: Sequence[str], environment: Mapping[str, str]) -> "Child":
        """Start a command with these variables beside those of this process."""
        process = await asyncio.create_subprocess_exec(
            *words,
            # The process ends by itself when this end of the pipe is gone.
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, FOLLOW_STDIN: "1", **environment},
            start_new_session=True,  # Ctrl-C reaches this program alone, which sends SIGTERM
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    async def end(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL after `grace` seconds."""
        # The process may have ended just now, by itself.
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        await asyncio.wait((self.ended,), timeout=grace)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def kill_from_thread(self) -> None:
        """Send SIGKILL; called from another thread than that of the event loop."""
        # The event loop may reap the process between these two lines, but the number of a process
        # is not given to another process so soon.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
