"""The load by other programs: how far the figures of a run can be trusted."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.suite.contender import Contender, Measured, Result, Unavailable

_STAT = Path("/proc/stat")
_IDLE = frozenset({3, 4})
"""Fields of /proc/stat: idle, and waiting for a disk."""
_GUEST = 8
"""Later fields of /proc/stat are counted in the earlier fields already."""
_SAMPLE = 0.25
"""Seconds."""


class Load(Contender):
    """Observe how much of the processors other programs use while the suite sleeps.

    Takes turns with the contenders of a part, so the samples lie between their rounds.
    """

    def __init__(self, part: str) -> None:
        self.key = f"load.{part}"
        self.label = "other programs"

    async def round(self) -> Measured:
        before, start = _busy(), time.perf_counter()
        await asyncio.sleep(_SAMPLE)
        return {"core": (_busy() - before) / (time.perf_counter() - start)}


def _busy() -> float:
    """Return the seconds that all cores have worked, or that a hypervisor took from them."""
    try:
        total, _, _ = _STAT.read_text().partition("\n")
    except OSError:
        raise Unavailable("this system has no /proc/stat") from None
    ticks = [int(field) for field in total.split()[1:]]
    worked = [value for at, value in enumerate(ticks[:_GUEST]) if at not in _IDLE]
    return sum(worked) / os.sysconf("SC_CLK_TCK")


def load_of(results: Iterable[Result]) -> float | None:
    """Return the mean share of a core that other programs used; None without samples."""
    samples = [
        value
        for result in results
        if result.key.startswith("load.")
        for value in result.rounds.get("core", [])
    ]
    return statistics.mean(samples) if samples else None
