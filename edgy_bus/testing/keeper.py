"""Keep a started server from outliving the process that needs the server.

A small process, the keeper, stands between the two: this file, run as a program. The keeper starts
the server. When the keeper's standard input ends, it stops the server and deletes its directory.
The input ends when `KeptServer.stop` closes it, and when the process at the other end dies in any
way, SIGKILL included. No signal handler, `atexit` or code between fork and exec is involved, so
this works on every POSIX system and with any number of threads. (A SIGKILL to the keeper itself
leaves the server running.)

The keeper has a session of its own: Ctrl-C at the terminal reaches only the program, which may
still use the server during its shutdown. The keeper imports only the standard library and starts
in about 20 ms.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

GRACE = 10.0
"""Seconds between the stop signal and SIGKILL."""

LOG = "server.log"
_TAIL = 2_000


@dataclass(frozen=True)
class Plan:
    """Tell a keeper how to run a server.

    Attributes:
        folder: the working directory, deleted at the end.
        steps: commands to run one after another; the last command is the server.
        stop_signal: the signal that asks the server to stop.
        account: the user id for the commands; None for the user of this process.
    """

    folder: str
    steps: Sequence[Sequence[str]]
    stop_signal: int = signal.SIGTERM
    account: int | None = None


class KeptServer:
    """Run a server under a keeper."""

    def __init__(self, plan: Plan) -> None:
        self._keeper = subprocess.Popen(  # noqa: S603 - this interpreter and this file
            [sys.executable, "-I", "-S", __file__, json.dumps(asdict(plan))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._log_end = ""

    @property
    def running(self) -> bool:
        """Return whether the keeper runs, and with it the server."""
        return self._keeper.poll() is None

    def stop(self) -> str:
        """Stop the server, and wait until its directory is deleted. Can be called twice.

        Returns the end of the server's log if the server had ended by itself, else "".
        """
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            output, _ = self._keeper.communicate(timeout=3 * GRACE)
            self._log_end = output.decode(errors="replace").strip()
        return self._log_end


def keep(plan: Plan) -> None:
    """Run a plan to its end; print the end of the log if the server ended by itself."""
    folder = Path(plan.folder)
    log = folder / LOG
    try:
        if _run(plan, log):
            sys.stdout.write(log.read_text(errors="replace")[-_TAIL:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(plan: Plan, log: Path) -> bool:
    """Run the steps; return whether a preparing step failed or the server ended by itself."""
    with log.open("ab") as output:
        # Not the keeper's own standard input, whose end is the signal to stop.
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            "cwd": plan.folder,
        }
        if plan.account is not None:
            options |= {"user": plan.account, "extra_groups": []}
        for step in plan.steps[:-1]:
            if subprocess.run(step, check=False, **options).returncode != 0:  # noqa: S603
                return True
        server = subprocess.Popen(plan.steps[-1], **options)  # noqa: S603 - from our caller
    stopping = threading.Event()
    arguments = (server, plan.stop_signal, stopping)
    threading.Thread(target=_stop_at_end_of_input, args=arguments, daemon=True).start()
    try:
        server.wait()
    finally:
        _stop(server, plan.stop_signal)
    return not stopping.is_set()


def _stop_at_end_of_input(
    server: "subprocess.Popen[bytes]", stop_signal: int, stopping: threading.Event
) -> None:
    # Not through `sys.stdin`, whose lock this thread would hold while the interpreter shuts down.
    while os.read(0, 1):
        pass
    # Set before the server is stopped: the main thread wakes at the server's end, and reads the
    # event to tell a stop on request from a failure.
    stopping.set()
    _stop(server, stop_signal)


def _stop(server: "subprocess.Popen[bytes]", stop_signal: int) -> None:
    """Ask a server to stop, then kill it. Does nothing to a server that has ended."""
    server.send_signal(stop_signal)
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _exit(_number: int, _frame: FrameType | None) -> None:
    # SystemExit, so that the `finally` blocks above stop the server and delete its directory.
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _exit)
    keep(Plan(**json.loads(sys.argv[1])))
