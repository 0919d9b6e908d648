"""Measurements: numbers about the work of the library, and those who collect them.

A notice reports an incident; a measurement is a number of the normal course, folded from many
events. Without a collector nothing is measured: ask `is_measured` before any other work.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from edgy_bus.telemetry.notice import Counter


class Distribution(NamedTuple):
    """Count values by the buckets of a histogram.

    Attributes:
        counts: values of each bucket, and at last the values above all buckets.
        total: the sum of the values.
    """

    counts: tuple[int, ...]
    total: float

    def plus(self, other: "Distribution") -> "Distribution":
        """Return the distribution of the values of both."""
        counts = tuple(map(sum, zip(self.counts, other.counts, strict=True)))
        return Distribution(counts, self.total + other.total)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A metric that rises and falls.

    Args:
        name: the metric's name, with its unit at the end.
        labels: fields of the measurement that tell series apart; see `Counter`.
        value: the field that contains the number.
    """

    name: str
    labels: tuple[str, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A metric that counts values by buckets.

    Args:
        name: the metric's name, with its unit at the end.
        labels: fields of the measurement that tell series apart; see `Counter`.
        value: the field that contains a `Distribution`.
        bounds: the largest value of each bucket, rising.
    """

    name: str
    labels: tuple[str, ...]
    value: str
    bounds: tuple[float, ...]

    def fold(self, values: list[float], shift: float = 0.0) -> Distribution:
        """Return the distribution of some values.

        Args:
            values: the values, which are sorted in place.
            shift: is added to each value. A value below zero counts for the first bucket.
        """
        # Sorted once in C: a search for each bucket is cheaper than a search for each value.
        values.sort()
        below, counts = 0, []
        for bound in self.bounds:
            upto = bisect_right(values, bound - shift, below)
            counts.append(upto - below)
            below = upto
        counts.append(len(values) - below)
        # Differences of two clocks may be negative, and a sum of Prometheus never falls.
        return Distribution(tuple(counts), max(0.0, sum(values) + shift * len(values)))


Metric = Counter | Gauge | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number that feeds a metric."""

    metric: ClassVar[Metric | None] = None
    """The metric that the measurement feeds."""


Collector = Callable[[Measurement], None]

# A list of its own, apart from the listeners: a log listens always, and wants no measurements.
_collectors: list[Collector] = []
_logger = logging.getLogger("edgy_bus.telemetry")


def collect(collector: Collector) -> Callable[[], None]:
    """Call `collector(measurement)` for every measurement from now on.

    Parts that measure while they run look for collectors when they start.

    Returns:
        A function that removes the collector. Calling the function again does nothing.
    """
    _collectors.append(collector)

    def stop() -> None:
        if collector in _collectors:
            _collectors.remove(collector)

    return stop


def is_measured() -> bool:
    """Return whether measurements are collected."""
    return bool(_collectors)


def measure(measurements: Sequence[Measurement]) -> None:
    """Hand measurements to every collector. A collector that raises breaks no caller."""
    for collector in tuple(_collectors):
        try:
            for measurement in measurements:
                collector(measurement)
        except Exception:
            # An application's `dictConfig` disables loggers that its configuration does not name.
            _logger.disabled = False
            _logger.exception("a collector of measurements failed")
