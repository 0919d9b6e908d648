"""What is measured, one thing at a time, and how its rounds are run."""

import asyncio
import gc
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Measured = Mapping[str, float]
"""Metric to value. The metrics and their units are in `UNITS`."""

UNITS = {"rate": "events/s", "us": "µs", "p50": "ms", "p99": "ms", "mb": "MB"}

_PATIENCE = 600.0
"""Seconds that one round may take before it is called failed."""


class Unavailable(Exception):
    """This cannot be measured here, and why."""


@dataclass(frozen=True)
class Scale:
    """How much is done in a run. A contender that needs longer than the others may make fewer rounds."""

    rounds: int = 5
    bulk: int = 50_000
    """Events of a round, of what works in batches."""
    single: int = 4_000
    """Events of a round, of what sends or handles them one by one, the peers included."""
    backlog: int = 100_000
    """Events that wait for our consumers."""
    inbox: int = 2_000
    operations: int = 300
    latency: int = 2_000
    backlogs: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    models: int = 100
    groups: int = 20
    partitions: int = 64
    window: float = 5.0
    """Seconds of a look at working processes."""


QUICK = Scale(
    rounds=3,
    bulk=10_000,
    single=1_000,
    backlog=20_000,
    inbox=500,
    operations=150,
    latency=400,
    backlogs=(10_000, 50_000),
    models=20,
    groups=5,
    partitions=32,
    window=3.0,
)


class Contender(ABC):
    """One thing that is measured: `setup`, some times `round`, `teardown`."""

    key: str
    """Names it in the JSON and in the goals: `publish.relay`."""
    label: str
    most: int = 1_000
    """Rounds that it makes at most."""

    async def setup(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Not measured. Raises `Unavailable` where it cannot be measured."""

    @abstractmethod
    async def round(self) -> Measured: ...

    async def teardown(self) -> None:  # noqa: B027
        """Undo `setup`, also one that failed half-way."""


@dataclass
class Result:
    """All rounds of one contender."""

    section: str
    key: str
    label: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    failed: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, measured: Measured) -> None:
        for metric, value in measured.items():
            self.rounds.setdefault(metric, []).append(value)

    def median(self, metric: str = "rate") -> float | None:
        values = self.rounds.get(metric)
        return statistics.median(values) if values else None


Tell = Callable[[str], None]


async def measure(
    section: str, contenders: Sequence[Contender], rounds: int, tell: Tell
) -> list[Result]:
    """Rounds in turn, every second one backwards, so that what the machine does meanwhile hits all alike."""
    results = {one.key: Result(section, one.key, one.label) for one in contenders}
    ready = [one for one in contenders if await _prepared(one, results[one.key])]
    try:
        for number in range(rounds):
            for one in ready[:: -1 if number % 2 else 1]:
                result = results[one.key]
                if result.failed or number >= one.most:
                    continue
                tell(f"{section}, round {number + 1} of {rounds}: {one.label}")
                await _round(one, result)
    finally:
        for one in contenders:
            await one.teardown()
    return list(results.values())


async def _prepared(one: Contender, result: Result) -> bool:
    try:
        await one.setup()
    except Exception as error:  # noqa: BLE001 - whatever it is, the others are still measured
        result.failed = _said(error)
    return not result.failed


async def _round(one: Contender, result: Result) -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()  # the suite has much in memory that a process of its own, like every peer's, would not have
    try:
        async with asyncio.timeout(_PATIENCE):
            result.add(await one.round())
    except Exception as error:  # noqa: BLE001 - as above
        result.failed = _said(error)


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Unavailable) else f"{type(error).__name__}: {text}"[:300]
