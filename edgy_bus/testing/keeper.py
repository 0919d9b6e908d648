"""Keeps a started server from outliving the process that needed it.

Between the two stands a small process, the keeper: this file, run as a program. It starts the server, and
stops it and deletes its folder as soon as its own standard input ends. That happens when `Kept.stop` closes
it, and also when the process that holds the other end ends in any way, SIGKILL included. No signal handler,
no `atexit` and no code between fork and exec is needed for that, so it holds on every POSIX system and with
any number of threads. (Who kills the keeper itself with SIGKILL leaves a server behind.)

The keeper has a session of its own: a Ctrl-C at the terminal reaches the program alone, which may still use
the server while it shuts down. Only the standard library is imported: the keeper starts in some 20 ms.
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
"""Seconds that a server has for stopping before it is killed."""

LOG = "server.log"
_TAIL = 2_000


@dataclass(frozen=True)
class Plan:
    """What a keeper does: run `steps` one after another, the last of which is the server."""

    folder: str
    steps: Sequence[Sequence[str]]
    stop_signal: int = signal.SIGTERM
    account: int | None = None
    """The user id that the steps run as, where it is not the one of this process."""


class Kept:
    """A server with its keeper, seen from the process that needs it."""

    def __init__(self, plan: Plan) -> None:
        self._keeper = subprocess.Popen(  # noqa: S603 - this interpreter and this file
            [sys.executable, "-I", "-S", __file__, json.dumps(asdict(plan))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._last_words = ""

    @property
    def running(self) -> bool:
        return self._keeper.poll() is None

    def stop(self) -> str:
        """Stop the server and wait until its folder is gone; returns the end of its log if it had failed."""
        if self._keeper.stdin is not None and not self._keeper.stdin.closed:
            output, _ = self._keeper.communicate(timeout=3 * GRACE)
            self._last_words = output.decode(errors="replace").strip()
        return self._last_words


def keep(plan: Plan) -> None:
    """The keeper's whole life. What the server logged is printed when it ended without being asked to."""
    folder = Path(plan.folder)
    log = folder / LOG
    try:
        if _run(plan, log):
            sys.stdout.write(log.read_text(errors="replace")[-_TAIL:])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(plan: Plan, log: Path) -> bool:
    """Run the steps; whether the last one, or one before it, ended by itself."""
    who: dict[str, Any] = {} if plan.account is None else {"user": plan.account, "extra_groups": []}
    with log.open("ab") as output:
        streams: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": output,
            "stderr": output,
            "cwd": plan.folder,
        }
        for step in plan.steps[:-1]:
            if subprocess.run(step, check=False, **streams, **who).returncode != 0:  # noqa: S603 - from our caller
                return True
        server = subprocess.Popen(plan.steps[-1], **streams, **who)  # noqa: S603 - from our caller
    asked = threading.Event()
    threading.Thread(
        target=_stop_at_end_of_input, args=(server, plan.stop_signal, asked), daemon=True
    ).start()
    try:
        server.wait()
    finally:
        _stop(server, plan.stop_signal)
    return not asked.is_set()


def _stop_at_end_of_input(
    server: "subprocess.Popen[bytes]", stop_signal: int, asked: threading.Event
) -> None:
    # Not through `sys.stdin`, whose lock this thread would hold while the interpreter shuts down.
    while os.read(0, 1):
        pass
    asked.set()
    _stop(server, stop_signal)


def _stop(server: "subprocess.Popen[bytes]", stop_signal: int) -> None:
    """Ask first, then kill. Does nothing to a server that has ended."""
    server.send_signal(stop_signal)
    try:
        server.wait(GRACE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    keep(Plan(**json.loads(sys.argv[1])))
