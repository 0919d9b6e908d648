"""The files through which processes of `--processes` hand their metrics to their supervisor.

A process writes its file every second. The supervisor reads the files for each request. When a
process has ended, the supervisor keeps the counts of the process, and forgets its states.
"""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from edgy_bus import telemetry
from edgy_bus.observability.metrics import (
    Ledger,
    Series,
    lasting,
    merged,
    packed,
    series_of,
    unpacked,
)
from edgy_bus.services import Service
from edgy_bus.telemetry import Measurement, catalogue

_EVERY = 1.0
"""Seconds between two writings: what a process that is killed has counted last is lost."""


class MetricsFile(Service):
    """Write the metrics of this process to a file, until stopped.

    Args:
        path: the file.

    Attributes:
        states: returns what the process holds now.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.states: Callable[[], Iterable[Measurement]] = tuple
        self._path = path
        self._ledger = Ledger()
        self._is_failing = False

    async def run(self) -> None:
        """Write the file every second, and a last time at the end."""
        while not self.stopping.is_set():
            self._write()
            await self.pause(_EVERY)
        self._write()
        self._ledger.close()

    def _write(self) -> None:
        series = merged([self._ledger.series(), *map(series_of, self.states())])
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            new.write_bytes(packed(series))
            # In one step: the supervisor never reads half a file.
            os.replace(new, self._path)
        except OSError as error:
            # Once: the next attempt follows in a second.
            if not self._is_failing:
                reason = error.strerror or type(error).__name__
                telemetry.emit(catalogue.MetricsFileFailed(path=str(self._path), error=reason))
            self._is_failing = True
        else:
            self._is_failing = False


class ChildMetrics:
    """Read the metrics of processes, those of processes that have ended included.

    Args:
        folder: where the processes write their files.
        count: the number of processes.

    Attributes:
        files: the file of each process, and of its successors.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.files = [folder / f"metrics.{number}" for number in range(count)]
        self._ended: Series = {}
        # A request in the thread of the server must not count a process twice while it retires.
        self._lock = threading.Lock()

    def series(self) -> list[Series]:
        """Return the series of each process, and the counts of those that have ended."""
        with self._lock:
            return [self._ended, *map(_read, self.files)]

    def retire(self, file: Path) -> None:
        """Keep the counts of a process that has ended, and forget its gauges."""
        # Counts only grow for Prometheus, no matter which process has counted.
        with self._lock:
            self._ended = merged([self._ended, lasting(_read(file))])
            file.unlink(missing_ok=True)


def _read(file: Path) -> Series:
    try:
        return unpacked(file.read_bytes())
    except (OSError, ValueError, TypeError):
        # A process that has just started, or that could not write.
        return {}
