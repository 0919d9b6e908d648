"""Contenders: a contender measures a single kind of work. `measure` runs their rounds in turn."""

import asyncio
import gc
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Measured = Mapping[str, float]
"""Metric to value. `UNITS` lists the metrics and their units."""

UNITS = {
    "rate": "events/s",
    "us": "µs",
    "p50": "ms",
    "p99": "ms",
    "mb": "MB",
    "core": "of a core",
}
COSTS = frozenset({"us", "p50", "p99", "mb", "core"})
"""Metrics of which less is better."""

_PATIENCE = 600.0
"""Seconds after which a round counts as failed."""


class Unavailable(Exception):
    """Report that a contender cannot be measured here, and why."""


@dataclass(frozen=True)
class Scale:
    """Size the rounds of a run. A slow contender may make fewer rounds."""

    rounds: int = 5
    bulk: int = 50_000
    """Events of a round, for work in batches."""
    single: int = 4_000
    """Events of a round, for work on single events; the peers' rounds are as large."""
    backlog: int = 100_000
    """Events that wait for our consumers."""
    inbox: int = 2_000
    operations: int = 300
    bulk_calls: int = 10
    """Calls of a round; a call writes some hundred rows."""
    latency: int = 2_000
    latency_rounds: int = 3
    backlogs: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    models: int = 100
    groups: int = 20
    partitions: int = 64
    window: float = 5.0
    """Seconds during which the throughput of running processes is observed."""


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
    """Measure a single kind of work: `setup`, several times `round`, `teardown`."""

    key: str
    """The name in the JSON and in the goals: `publish.relay`."""
    label: str
    most: int = 1_000
    """The limit of its rounds."""
    tries: int = 1
    """How often a round is tried that fails. The report tells of each further try."""

    async def setup(self) -> None:  # noqa: B027 - most contenders have nothing to prepare
        """Prepare the rounds, unmeasured. Raises `Unavailable` if the work cannot be measured."""

    @abstractmethod
    async def round(self) -> Measured: ...

    async def teardown(self) -> None:  # noqa: B027
        """Undo `setup`, also a `setup` that failed half-way."""


@dataclass
class Result:
    """All rounds of a contender."""

    section: str
    key: str
    label: str
    rounds: dict[str, list[float]] = field(default_factory=dict)
    failed: str = ""
    retried: list[str] = field(default_factory=list)
    """Why rounds were tried again."""
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, measured: Measured) -> None:
        for metric, value in measured.items():
            self.rounds.setdefault(metric, []).append(value)

    def median(self, metric: str = "rate") -> float | None:
        values = self.rounds.get(metric)
        return statistics.median(values) if values else None


Report = Callable[[str], None]
"""Receives a line of progress before each round."""


async def measure(
    section: str, contenders: Sequence[Contender], rounds: int, report: Report
) -> list[Result]:
    """Run the rounds in turn, every second round backwards: all contenders share the load of
    other programs alike."""
    results = {
        contender.key: Result(section, contender.key, contender.label) for contender in contenders
    }
    ready = [
        contender for contender in contenders if await _prepared(contender, results[contender.key])
    ]
    try:
        for number in range(rounds):
            for contender in ready[:: -1 if number % 2 else 1]:
                result = results[contender.key]
                if result.failed or number >= contender.most:
                    continue
                report(f"{section}, round {number + 1} of {rounds}: {contender.label}")
                await _round(contender, result)
    finally:
        for contender in contenders:
            await contender.teardown()
    return list(results.values())


async def _prepared(contender: Contender, result: Result) -> bool:
    try:
        await contender.setup()
    except Exception as error:  # noqa: BLE001 - the remaining contenders are still measured
        result.failed = _reason(error)
    return not result.failed


async def _round(contender: Contender, result: Result) -> None:
    for _ in range(contender.tries):
        reason = await _try(contender, result)
        if not reason:
            return
        result.retried.append(reason)
    result.failed = result.retried.pop()


async def _try(contender: Contender, result: Result) -> str:
    """Make a round; return why it failed, or an empty text."""
    # The suite keeps many objects in memory that the process of a peer does not have: the garbage
    # collector must not visit these objects during a round.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    try:
        async with asyncio.timeout(_PATIENCE):
            result.add(await contender.round())
    except Exception as error:  # noqa: BLE001 - as above
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, Unavailable) else f"{type(error).__name__}: {text}"[:300]
