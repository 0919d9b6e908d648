"""Start and end the processes of a run."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Program:
    """Run a process in its own session.

    The process appends its output to the log file of its name, which earlier processes of the same
    name have written too.
    """

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.began = time.monotonic()
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self, patience: float) -> None:
        """SIGTERM, and wait. Raises with all that its tasks wait for if it does not end in time."""
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGUSR1)
            time.sleep(1)  # it writes what its tasks wait for
            raise AssertionError(
                f"{self.name} did not end after SIGTERM; its tasks: {self.log[-20_000:]}"
            ) from None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait(10)
