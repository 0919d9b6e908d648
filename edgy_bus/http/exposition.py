"""Write series in the formats of Prometheus and of OpenMetrics."""

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from edgy_bus.observability.metrics import METRICS, Labels, Number, Series
from edgy_bus.telemetry import Counter, Distribution, Histogram

_Values = list[tuple[Labels, Number]]


def written(series: Series, accept: str) -> tuple[bytes, str]:
    """Return series as a text, and its media type, which the header `Accept` chooses."""
    registry = CollectorRegistry()
    # CPU, memory and open files of this process, under the names that dashboards know.
    ProcessCollector(registry=registry)
    registry.register(_Series(series))
    encoder, media_type = choose_encoder(accept)
    return encoder(registry), media_type


class _Series(Collector):
    def __init__(self, series: Series) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        by_name: dict[str, _Values] = {}
        for (name, labels), number in self._series.items():
            by_name.setdefault(name, []).append((labels, number))
        return [_family(name, values) for name, values in sorted(by_name.items())]


def _family(name: str, values: _Values) -> Metric:
    metric, description = METRICS[name]
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if isinstance(metric, Histogram):
        family = HistogramMetricFamily(name, description, labels=metric.labels)
        for labels, number in values:
            if isinstance(number, Distribution):
                family.add_metric(labels, list(_buckets(metric, number)), number.total)
        return family
    kind = CounterMetricFamily if isinstance(metric, Counter) else GaugeMetricFamily
    family = kind(name, description, labels=metric.labels)
    for labels, number in values:
        if not isinstance(number, Distribution):
            family.add_metric(labels, number)
    return family


def _buckets(metric: Histogram, number: Distribution) -> Iterator[tuple[str, float]]:
    # Each bucket contains the buckets below.
    bounds = [*(str(float(bound)) for bound in metric.bounds), "+Inf"]
    yield from zip(bounds, itertools.accumulate(number.counts), strict=True)
