"""Measurements are folded into distributions, and reach collectors only while there are some."""

import re
from collections import Counter as Count
from dataclasses import fields

import pytest

from edgy_bus import telemetry
from edgy_bus.telemetry import (
    Counter,
    Distribution,
    Gauge,
    Histogram,
    Measurement,
    catalogue,
    measurements,
)

HANDLED = measurements.EventsHandled(group="mail", receiver="send", count=3)


def test_a_fold_counts_each_value_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram("edgy_bus_test_seconds", (), "values", (0.1, 1.0, 10.0))
    folded = histogram.fold([50.0, 0.05, 1.0, 0.1, 2.0])
    assert folded == Distribution((2, 1, 1, 1), pytest.approx(53.15))
    assert histogram.fold([]) == Distribution((0, 0, 0, 0), 0)
    assert histogram.fold([0.0, -9.5], shift=1.0) == Distribution((1, 1, 0, 0), 0)
    assert histogram.fold([0.0, -0.95], shift=1.0) == Distribution(
        (1, 1, 0, 0), pytest.approx(1.05)
    )
    assert folded.plus(histogram.fold([5.0])).counts == (2, 1, 2, 1)


def test_a_collector_receives_measurements_until_it_is_removed() -> None:
    received: list[Measurement] = []
    assert not telemetry.is_measured()
    stop = telemetry.collect(received.append)
    assert telemetry.is_measured()
    telemetry.measure([HANDLED])
    stop()
    stop()
    assert not telemetry.is_measured()
    telemetry.measure([HANDLED])
    assert received == [HANDLED]


def test_a_collector_that_fails_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(measurement: Measurement) -> None:
        raise RuntimeError("no")

    received: list[Measurement] = []
    stops = [telemetry.collect(fails), telemetry.collect(received.append)]
    telemetry.measure([HANDLED])
    for stop in stops:
        stop()
    assert received == [HANDLED]
    assert "a collector of measurements failed" in caplog.text


@pytest.mark.parametrize("entry", measurements.ENTRIES, ids=lambda entry: entry.__name__)
def test_an_entry_is_documented_and_feeds_a_metric_from_its_own_fields(
    entry: type[Measurement],
) -> None:
    metric = entry.metric
    assert metric is not None
    assert entry.__doc__
    first = entry.__doc__.splitlines()[0]
    assert first.endswith(".") or "; " in first  # a sentence, which describes the metric
    known = {field.name for field in fields(entry)}
    value = metric.amount if isinstance(metric, Counter) else metric.value
    assert known == {*metric.labels, value}
    if isinstance(metric, Counter):
        assert re.fullmatch(r"edgy_bus_[a-z_]+_total", metric.name)
    elif isinstance(metric, Histogram):
        assert metric.name.endswith("_seconds")
        assert list(metric.bounds) == sorted(set(metric.bounds))
    else:
        assert isinstance(metric, Gauge)
        assert not metric.name.endswith("_total")


def test_no_two_entries_feed_one_metric() -> None:
    entries = [*catalogue.ENTRIES, *measurements.ENTRIES]
    names = Count(entry.metric.name for entry in entries if entry.metric is not None)
    assert [name for name, count in names.items() if count > 1] == []
