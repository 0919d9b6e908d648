"""Programs of `app.py`, started as an operator starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.suite.place import ROOT, Place

APP = "benchmarks.ordinary.app"
ENDS = 40.0
"""Seconds in which a program ends after SIGTERM."""


def environment(place: Place, name: str, **more: str) -> dict[str, str]:
    """Return the environment of programs that share streams and a database."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GOALS_REDIS": place.redis.url,
        "GOALS_PREFIX": place.prefix(name),
        "GOALS_DATABASE": f"sqlite:///{place.folder / name}.sqlite",
        **more,
    }


@contextmanager
def program(
    *words: str, environment: Mapping[str, str], folder: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `edgy-bus …` until the end of the block."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgy_bus", *words],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(ENDS)
