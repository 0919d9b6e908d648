"""What is wanted of the figures of one run. All but a few are ratios of two things that were measured in that run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.suite.contender import Result


@dataclass(frozen=True)
class Verdict:
    """A goal, and what came of it. `value` is None where something that it needs was not measured."""

    what: str
    value: float | None
    wanted: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


class Figures:
    """Medians by key."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._results: Mapping[str, Result] = {one.key: one for one in results}

    def of(self, key: str, metric: str = "rate") -> float | None:
        found = self._results.get(key)
        return None if found is None or found.failed else found.median(metric)

    def best(self, beginning: str, end: str = "", metric: str = "rate") -> float | None:
        """The fastest of those whose keys look like this."""
        keys = [key for key in self._results if key.startswith(beginning) and key.endswith(end)]
        return max(
            (value for key in keys if (value := self.of(key, metric)) is not None), default=None
        )

    def ends(self, beginning: str) -> tuple[float | None, float | None]:
        """The first and the last of a row of figures that differ in the number at their end."""
        keys = sorted(
            (key for key in self._results if key.startswith(beginning)),
            key=lambda key: int(key.rpartition("-")[2]),
        )
        return (self.of(keys[0]), self.of(keys[-1])) if len(keys) > 1 else (None, None)


def ratio(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def ratios_to_limit(figures: Figures) -> dict[str, float | None]:
    """Ours by the same work by hand on a raw connection: what `make bench-check` keeps."""
    read = figures.best("limits.read-")
    return {
        "drain": ratio(figures.of("publish.relay"), figures.of("limits.script")),
        "consume by name": ratio(figures.of("consume.name"), read),
        "consume by class": ratio(figures.of("consume.class"), read),
    }


def verdicts(results: Sequence[Result]) -> list[Verdict]:
    of = (figures := Figures(results)).of
    faststream, peer = of("peers.faststream-publish"), figures.best("peers.", "-consume")
    raw = of("operations.insert-raw-postgresql", "us")
    outbox, service = (
        of("operations.insert-outbox-postgresql", "us"),
        of("operations.insert-service-postgresql", "us"),
    )
    small, large = figures.ends("growth.backlog-")
    by_hand = of("latency.by-hand", "p50")
    return [
        Verdict("relay, a full outbox", of("publish.relay"), 50_000, "events/s"),
        Verdict("relay / FastStream's publish", ratio(of("publish.relay"), faststream), 5, "times"),
        Verdict(
            "pre_* from memory / redis-benchmark",
            ratio(of("publish.announce"), of("limits.redis-benchmark")),
            0.5,
            "times",
        ),
        Verdict(
            "pre_* from memory / FastStream's publish",
            ratio(of("publish.announce"), faststream),
            20,
            "times",
        ),
        Verdict("consume by name", of("consume.name"), 60_000, "events/s"),
        Verdict("consume by class", of("consume.class"), 40_000, "events/s"),
        Verdict(
            "consume by name / best peer, a call for each event",
            ratio(of("consume.name"), peer),
            10,
            "times",
        ),
        Verdict("create() with its event / raw INSERT", ratio(outbox, raw), 1.5, "times", True),
        Verdict(
            "the same in a running service / raw INSERT", ratio(service, raw), 1.5, "times", True
        ),
        Verdict(
            "Edgy's create / ours with its event",
            ratio(of("operations.edgy", "us"), outbox),
            3,
            "times",
        ),
        Verdict(
            "commit to receiver, p50 / by hand",
            ratio(of("latency.ours", "p50"), by_hand),
            3,
            "times",
            True,
        ),
        Verdict(
            "8 workers / 1, receivers that wait",
            ratio(of("processes.8"), of("processes.1")),
            7,
            "times",
        ),
        Verdict("largest backlog / smallest", ratio(large, small), 0.9, "times"),
        Verdict("growth of a worker's memory", of("growth.memory", "mb"), 20, "MB", True),
    ]
