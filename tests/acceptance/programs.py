"""Real processes of a test: started, signalled, read, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0


class Program:
    """`python -m edgy_bus …`, or another module's program, with its output in a file."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environment: Mapping[str, str],
        module: str = "edgy_bus",
    ) -> None:
        self._log = folder / f"log-{time.monotonic_ns()}"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_output(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.output:
            assert self.process.poll() is None, (
                f"it ended with {self.process.returncode}:\n{self.output}"
            )
            assert time.monotonic() < deadline, f"{text!r} was not written:\n{self.output}"
            time.sleep(0.05)

    def terminate(self) -> int:
        """SIGTERM, and the exit status that followed."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL to it and whatever it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)


@contextmanager
def program(
    *arguments: str, folder: Path, module: str = "edgy_bus", **environment: str
) -> Iterator[Program]:
    """One that is killed at the end if the test did not stop it."""
    one = Program(arguments, folder, environment, module)
    try:
        yield one
    finally:
        one.kill()
