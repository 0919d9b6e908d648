"""Runs spin on the models of docs/models: generates a program for one set of flags, compiles it, and lets it search all states."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parents[2] / "docs" / "models"
_DEPTH = 1_000_000
_HASH_BITS = 24
_MEMORY = 8_000
"""Bounds of the search: steps, buckets (as a power of two), megabytes. A search that meets one of them is incomplete."""

_INCOMPLETE = re.compile(
    r"max search depth too small|Search not completed|out of memory|memory limit|reached -DMEMLIM"
)


class ModelError(Exception):
    """A model could not be translated, compiled or run."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search has found. `complete`: it has seen every state, which one that stops at a counter-example never has."""

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
    """What is needed and not there; None if nothing is."""
    lacking = [name for name in ("spin", "cc") if shutil.which(name) is None]
    return f"not on the PATH: {', '.join(lacking)}" if lacking else None


def check(model: str, flags: Sequence[str], timeout: float) -> Verdict:
    """Search the states of a model (its name without suffix), for at most `timeout` seconds.

    Raises `ModelError` when it cannot be translated, compiled or searched, also when the time is over.
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
        told = _call(folder, timeout, "./pan", "-E", f"-m{_DEPTH}", f"-w{_HASH_BITS}")
        return read(told, time.perf_counter() - began)


def trace(model: str, flags: Sequence[str], timeout: float) -> str:
    """The shortest counter-example as the model tells it; empty if there is none. It takes more memory than `check`."""
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
        told = _call(folder, timeout, "spin", *flags, "-t", "-T", f"{model}.pml")
        return told.split("spin: trail ends", maxsplit=1)[0]


def read(told: str, seconds: float) -> Verdict:
    """What the words of a search mean. Raises `ModelError` if they are not those of a search that ended."""
    errors = re.search(r"errors: (\d+)", told)
    states = re.search(r"^\s*([\d.e+]+) states, stored", told, re.MULTILINE)
    if errors is None or states is None:
        raise ModelError(f"the search told nothing that is known:\n{told[-2000:]}")
    found = re.search(r"^pan:\d+: (.*?)(?: \(at depth \d+\))?$", told, re.MULTILINE)
    wrong = int(errors[1])
    complete = not wrong and not _INCOMPLETE.search(told)
    return Verdict(
        wrong, complete, int(float(states[1])), seconds, found[1].strip() if found else ""
    )


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
