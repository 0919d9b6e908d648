"""Count the notices and measurements of this process, as series of the catalogue's metrics."""

import json
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgy_bus import telemetry
from edgy_bus.reasons import printable
from edgy_bus.telemetry import (
    Counter,
    Distribution,
    Measurement,
    Metric,
    Notice,
    catalogue,
    measurements,
)

Labels = tuple[str, ...]
Key = tuple[str, Labels]
"""The name of a metric, and the values of its labels."""

Number = float | Distribution
Series = Mapping[Key, Number]

MOST_SERIES = 1_000
"""Series of a metric. Further ones are counted together: names of groups come from a broker, to
which any program may write."""

OTHER = "other"
_LONGEST_LABEL = 200


def _described() -> dict[str, tuple[Metric, str]]:
    entries: list[type[Notice] | type[Measurement]] = [*catalogue.ENTRIES, *measurements.ENTRIES]
    return {
        entry.metric.name: (entry.metric, (entry.__doc__ or "").splitlines()[0])
        for entry in entries
        if entry.metric is not None
    }


METRICS: Mapping[str, tuple[Metric, str]] = _described()
"""Every metric of the catalogues by name, with its description."""


class Sums:
    """Add series up, within the bound of each metric.

    Attributes:
        series: the sums.
    """

    def __init__(self, series: Series | None = None) -> None:
        self.series: dict[Key, Number] = {}
        self._counts: dict[str, int] = {}
        self.add(series or {})

    def add(self, series: Series) -> None:
        """Add further series."""
        total = self.series
        for key, number in series.items():
            series_key = key if key in total else self._new(key)
            before = total.get(series_key)
            if isinstance(before, Distribution) and isinstance(number, Distribution):
                total[series_key] = before.plus(number)
            elif isinstance(before, float | int) and isinstance(number, float | int):
                total[series_key] = before + number
            else:
                total[series_key] = number

    def _new(self, key: Key) -> Key:
        """Return a new key, or that of all further series of a metric that has too many."""
        name, labels = key
        count = self._counts.get(name, 0)
        if count >= MOST_SERIES:
            return name, (OTHER,) * len(labels)
        self._counts[name] = count + 1
        return key


class Ledger:
    """Collect counters and histograms from its construction until `close`.

    Notices also come from other threads: the keeper of leases reports a blocked event loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = Sums(
            {
                (name, ()): 0.0
                for name, (metric, _) in METRICS.items()
                # Known from the start: an increase from nothing to 1 is none for Prometheus.
                if isinstance(metric, Counter) and not metric.labels
            }
        )
        self._stops: list[Callable[[], None]] = [
            telemetry.listen(self.record),
            telemetry.collect(self.record),
        ]
        _ledgers.add(self)

    def close(self) -> None:
        """Collect nothing any more."""
        _ledgers.discard(self)
        for stop in self._stops:
            stop()

    def record(self, report: Notice | Measurement) -> None:
        """Add what a notice or a measurement contains."""
        series = series_of(report)
        with self._lock:
            self._sums.add(series)

    def series(self) -> Series:
        """Return the series as they are now."""
        with self._lock:
            return dict(self._sums.series)

    def unlock(self) -> None:
        """Forget who holds the lock: in a forked process, that thread does not exist."""
        self._lock = threading.Lock()


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _unlock_all() -> None:
    for ledger in tuple(_ledgers):
        ledger.unlock()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_unlock_all)


def series_of(report: Notice | Measurement) -> Series:
    """Return what a report says about its metric; empty if the report feeds no metric."""
    metric = report.metric
    if metric is None:
        return {}
    key = (metric.name, tuple(_label(getattr(report, name)) for name in metric.labels))
    if isinstance(metric, Counter):
        return {key: 1.0 if metric.amount is None else float(getattr(report, metric.amount))}
    value: Any = getattr(report, metric.value)
    return {key: value if isinstance(value, Distribution) else float(value)}


def merged(parts: Iterable[Series]) -> Series:
    """Return the sums of several series, for example of several processes."""
    sums = Sums()
    for part in parts:
        sums.add(part)
    return sums.series


def lasting(series: Series) -> Series:
    """Return the counters and histograms, which outlast their process; a gauge ends with it."""
    return {
        key: number
        for key, number in series.items()
        if not isinstance(METRICS[key[0]][0], telemetry.Gauge)
    }


def packed(series: Series) -> bytes:
    """Encode series for another process."""
    return json.dumps(
        [[name, labels, number] for (name, labels), number in series.items()]
    ).encode()


def unpacked(raw: bytes) -> Series:
    """Decode series; a metric that this release does not know is left out.

    Raises:
        ValueError: for bytes of another form.
    """
    series: dict[Key, Number] = {}
    for name, labels, number in json.loads(raw):
        if name in METRICS:
            value = Distribution(tuple(number[0]), number[1]) if type(number) is list else number
            series[name, tuple(labels)] = value
    return series


def _label(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else printable(str(value)[:_LONGEST_LABEL])
