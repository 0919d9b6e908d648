"""Goals and kept ratios. Nearly all goals are ratios of two figures of the same run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.suite.contender import COSTS, Result


@dataclass(frozen=True)
class Verdict:
    """A goal and its measured value, which is None if a figure is missing."""

    goal: str
    value: float | None
    wanted: float
    unit: str = "times"
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


class Figures:
    """Medians by key."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._results: Mapping[str, Result] = {result.key: result for result in results}

    def of(self, key: str, metric: str = "rate") -> float | None:
        result = self._results.get(key)
        return None if result is None or result.failed else result.median(metric)

    def best(self, beginning: str, end: str) -> float | None:
        """Return the highest rate among the keys with this beginning and end."""
        keys = [key for key in self._results if key.startswith(beginning) and key.endswith(end)]
        rates = [rate for key in keys if (rate := self.of(key)) is not None]
        return max(rates, default=None)

    def ends(self, beginning: str) -> tuple[float | None, float | None]:
        """Return the first and the last figure of a series, whose keys end with a number."""
        keys = sorted(
            (key for key in self._results if key.startswith(beginning)),
            key=lambda key: int(key.rpartition("-")[2]),
        )
        if len(keys) < 2:
            return None, None
        return self.of(keys[0]), self.of(keys[-1])


def ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


@dataclass(frozen=True)
class Ratio:
    """Our speed as a share of the same work by hand: more is better, whatever the metric."""

    name: str
    ours: str
    by_hand: str
    metric: str = "rate"

    def of(self, figures: Figures) -> float | None:
        ours = figures.of(self.ours, self.metric)
        by_hand = figures.of(self.by_hand, self.metric)
        return ratio(by_hand, ours) if self.metric in COSTS else ratio(ours, by_hand)


_INSERT, _UPDATE, _BULK = "operations.insert-", "operations.update-", "operations.bulk-"
_RAW, _OUTBOX, _SERVICE = "raw-postgresql", "outbox-postgresql", "service-postgresql"

RATIOS = (
    Ratio("drain", "publish.relay", "limits.script"),
    Ratio("consume by name", "consume.name", "limits.read-500"),
    Ratio("consume by class", "consume.class", "limits.read-500"),
    Ratio("create", _INSERT + _OUTBOX, _INSERT + _RAW, "us"),
    Ratio("update", _UPDATE + _OUTBOX, _UPDATE + _RAW, "us"),
    Ratio("bulk_create", _BULK + _OUTBOX, _BULK + _RAW, "us"),
    Ratio("commit to receiver, p50", "latency.ours", "latency.by-hand", "p50"),
    Ratio("inbox", "consume.class-inbox", "consume.by-hand-inbox"),
    Ratio("inbox, batches", "consume.class-inbox-batch", "consume.by-hand-inbox-batch"),
)
"""The ratios that `make bench-check` keeps."""


def ratios_to_limit(figures: Figures) -> dict[str, float | None]:
    """Return every kept ratio by its name."""
    return {kept.name: kept.of(figures) for kept in RATIOS}


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    """Return all goals with their measured values."""
    figures = Figures(results)
    return [
        *_publishing(figures),
        *_consuming(figures),
        *_operations(figures),
        *_sessions(figures),
        *_growing(figures),
    ]


def _publishing(figures: Figures) -> list[Verdict]:
    relay, announced = figures.of("publish.relay"), figures.of("publish.announce")
    faststream, limit = (
        figures.of("peers.faststream-publish"),
        figures.of("limits.redis-benchmark"),
    )
    return [
        Verdict("relay, a full outbox", relay, 50_000, "events/s"),
        Verdict("relay / FastStream's publish", ratio(relay, faststream), 5),
        Verdict("pre_* from memory / redis-benchmark", ratio(announced, limit), 0.5),
        Verdict("pre_* from memory / FastStream's publish", ratio(announced, faststream), 20),
    ]


def _consuming(figures: Figures) -> list[Verdict]:
    by_name = figures.of("consume.name")
    to_best_peer = ratio(by_name, figures.best("peers.", "-consume"))
    return [
        Verdict("consume by name", by_name, 60_000, "events/s"),
        Verdict("consume by class", figures.of("consume.class"), 40_000, "events/s"),
        Verdict(
            "consume with metrics / without",
            ratio(figures.of("consume.name-metrics"), by_name),
            0.95,
        ),
        Verdict("consume by name / best peer, a call for each event", to_best_peer, 10),
    ]


def _operations(figures: Figures) -> list[Verdict]:
    raw = figures.of(_INSERT + _RAW, "us")
    outbox = figures.of(_INSERT + _OUTBOX, "us")
    service = figures.of(_INSERT + _SERVICE, "us")
    edgy = figures.of("operations.edgy", "us")
    latency = figures.of("latency.ours", "p50")
    by_hand = figures.of("latency.by-hand", "p50")
    return [
        Verdict("create() with its event / raw INSERT", ratio(outbox, raw), 1.5, at_most=True),
        Verdict(
            "the same in a running service / raw INSERT", ratio(service, raw), 1.5, at_most=True
        ),
        Verdict("Edgy's create / ours with its event", ratio(edgy, outbox), 3),
        Verdict("commit to receiver, p50 / by hand", ratio(latency, by_hand), 3, at_most=True),
    ]


def _sessions(figures: Figures) -> list[Verdict]:
    def beside_by_hand(signal: str, database: str) -> float | None:
        flush = f"sessions.{signal}-"
        by_hand = figures.of(f"{flush}by-hand-{database}", "us")
        return ratio(figures.of(f"{flush}ours-{database}", "us"), by_hand)

    return [
        Verdict(
            f"a session's flush, {signal}, {database} / by hand",
            beside_by_hand(signal, database),
            1.2,
            at_most=True,
        )
        for signal in ("save", "update", "delete")
        for database in ("postgresql", "sqlite")
    ]


def _growing(figures: Figures) -> list[Verdict]:
    small, large = figures.ends("growth.backlog-")
    eight_processes = ratio(figures.of("processes.8"), figures.of("processes.1"))
    memory = figures.of("growth.memory", "mb")
    return [
        Verdict("8 workers / 1, receivers that wait", eight_processes, 7),
        Verdict("largest backlog / smallest", ratio(large, small), 0.9),
        Verdict("growth of a worker's memory", memory, 20, "MB", at_most=True),
    ]
