"""Run Spin on the models of docs/protocols.

Spin generates a program for a set of flags; the compiled program searches all states.
"""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parents[2] / "docs" / "protocols"
_DEPTH = 1_000_000
_HASH_BITS = 24
_MEMORY = 8_000
"""Bounds of the search: steps, buckets (as a power of two), megabytes.

A search that reaches a bound is incomplete.
"""

_INCOMPLETE = re.compile(
    r"max search depth too small|Search not completed|out of memory|memory limit|reached -DMEMLIM"
)


class ModelError(Exception):
    """Reports that a model cannot be translated, compiled or run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold the result of a search.

    Attributes:
        complete: whether the search has visited every state; never true with a counter-example,
            because the search stops there.
        what: the counter-example's message, or an empty string.
    """

    errors: int
    complete: bool
    states: int
    seconds: float
    what: str

    @property
    def holds(self) -> bool:
        return self.complete and not self.errors

    def __str__(self) -> str:
        if self.errors:
            return f"counter-example: {self.what}"
        return "holds" if self.complete else "INCOMPLETE"


def missing() -> str | None:
    """Return the missing programs as a message, or None if all are installed."""
    lacking = [name for name in ("spin", "cc") if shutil.which(name) is None]
    return f"not on the PATH: {', '.join(lacking)}" if lacking else None


def check(model: str, flags: Sequence[str], timeout: float) -> Verdict:
    """Search the states of a model (its name without suffix), for at most `timeout` seconds.

    Raises `ModelError` if the model cannot be translated or compiled, or the search fails or takes
    too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MODELS / f"{model}.pml", folder)
        _call(folder, timeout, "spin", *flags, "-a", f"{model}.pml")
        _call(
            folder,
            timeout,
            "cc",
            "-O1",
            "-w",
            "-DSAFETY",
            "-DCOLLAPSE",
            f"-DMEMLIM={_MEMORY}",
            "-o",
            "pan",
            "pan.c",
        )
        began = time.perf_counter()
        output = _call(folder, timeout, "./pan", "-E", f"-m{_DEPTH}", f"-w{_HASH_BITS}")
        return read(output, time.perf_counter() - began)


def trace(model: str, flags: Sequence[str], timeout: float) -> str:
    """Return the model's output for the shortest counter-example, or an empty string without any.

    The search needs more memory than `check`.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MODELS / f"{model}.pml", folder)
        _call(folder, timeout, "spin", *flags, "-a", f"{model}.pml")
        _call(
            folder,
            timeout,
            "cc",
            "-O1",
            "-w",
            "-DSAFETY",
            "-DBFS",
            "-DCOLLAPSE",
            f"-DMEMLIM={_MEMORY}",
            "-o",
            "pan",
            "pan.c",
        )
        _call(folder, timeout, "./pan", "-E")
        if not (Path(folder) / f"{model}.pml.trail").exists():
            return ""
        output = _call(folder, timeout, "spin", *flags, "-t", "-T", f"{model}.pml")
        return output.split("spin: trail ends", maxsplit=1)[0]


def read(output: str, seconds: float) -> Verdict:
    """Parse the output of a search. Raises `ModelError` if the search has not ended."""
    errors = re.search(r"errors: (\d+)", output)
    states = re.search(r"^\s*([\d.e+]+) states, stored", output, re.MULTILINE)
    if errors is None or states is None:
        raise ModelError(f"the output of the search is unknown:\n{output[-2000:]}")
    message = re.search(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", output, re.MULTILINE)
    count = int(errors[1])
    complete = not count and not _INCOMPLETE.search(output)
    what = message[1].strip() if message else ""
    return Verdict(count, complete, int(float(states[1])), seconds, what)


def _call(folder: str, timeout: float, *command: str) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{command[0]} took longer than {timeout:g} s") from error
    if done.returncode != 0:
        raise ModelError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
