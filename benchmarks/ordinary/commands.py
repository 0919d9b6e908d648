"""What commands cost, and how soon programs end."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.ordinary.goal import Figure
from benchmarks.ordinary.program import APP, environment
from benchmarks.suite.place import Place

_ROUNDS = 7


def commands(place: Place) -> list[Figure]:
    """Measure a probe, the help, a completion, and SIGTERM right after the start."""
    health = place.folder / "health"
    health.touch()
    completion = {
        "_EDGY_BUS_COMPLETE": "complete_bash",
        "COMP_WORDS": "edgy-bus ",
        "COMP_CWORD": "1",
    }
    probe = [_cost(place.folder, "health", str(health))[0] for _ in range(_ROUNDS)]
    shown = [_cost(place.folder, "--help")[1] for _ in range(_ROUNDS)]
    completed = [_cost(place.folder, **completion)[1] for _ in range(_ROUNDS)]
    ended = [_end(place, number) for number in range(_ROUNDS)]
    return [
        Figure("CPU of a probe, `edgy-bus health FILE`", 1e3 * median(probe), 150, "ms"),
        Figure("`edgy-bus --help`", 1e3 * median(shown), 250, "ms"),
        Figure("completion of a command", 1e3 * median(completed), 250, "ms"),
        Figure("a worker ends after SIGTERM 0.1 s after its start, slowest", max(ended), 2, "s"),
    ]


def _cost(folder: Path, *words: str, **more: str) -> tuple[float, float]:
    """Run `edgy-bus …` to its end; return seconds of CPU and of the clock."""
    before, began = _used(), time.perf_counter()
    subprocess.run(
        [str(Path(sys.executable).with_name("edgy-bus")), *words],
        env={**os.environ, **more},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return _used() - before, time.perf_counter() - began


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _end(place: Place, number: int) -> float:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgy_bus", "worker", f"{APP}:bus"],
        env=environment(place, f"end{number}"),
        cwd=place.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    began = time.perf_counter()
    process.wait(30)
    return time.perf_counter() - began
