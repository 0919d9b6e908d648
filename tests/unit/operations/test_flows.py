"""Rates are differences of counters, and unknown where two looks cannot be compared."""

import pytest

from edgy_bus.operations.flows import Flow, Rates, handling_rate
from edgy_bus.runtime.worker_report import ReceiverReport, WorkerReport

BEFORE = Flow(streams=2, arrived=100, finished=90)


def test_a_flow_sums_up_the_streams_that_are_counted() -> None:
    flow = Flow().plus(10, 5, 3).plus(None, 5, 3).plus(4, None, 0).plus(1, 0, 0)
    assert flow == Flow(streams=2, arrived=16, finished=8)


def test_rates_are_events_in_a_second() -> None:
    assert Flow(2, 120, 95).since(BEFORE, 2.0) == Rates(10.0, 2.5)
    assert BEFORE.since(BEFORE, 2.0) == Rates(0.0, 0.0)


@pytest.mark.parametrize(
    ("later", "seconds"),
    [
        # A stream that is counted from now on has a past.
        (Flow(3, 5000, 4000), 2.0),
        # Redis has lost data.
        (Flow(2, 99, 95), 2.0),
        (Flow(2, 120, 80), 2.0),
        (Flow(2, 120, 95), 0.0),
    ],
)
def test_looks_that_cannot_be_compared_have_no_rates(later: Flow, seconds: float) -> None:
    assert later.since(BEFORE, seconds) is None


def test_nothing_is_counted_on_an_old_server() -> None:
    assert Flow().since(Flow(), 2.0) is None


def report(at: float, handled: int) -> WorkerReport:
    return WorkerReport(at, {"send": ReceiverReport(handled=handled)})


def test_a_receiver_has_the_rate_of_all_workers_by_their_own_clocks() -> None:
    earlier = {"a": report(100, 10), "b": report(5000, 0), "gone": report(100, 0)}
    later = {"a": report(102, 30), "b": report(5001, 5), "new": report(100, 70)}
    assert handling_rate("send", earlier, later) == 10.0 + 5.0
    assert handling_rate("other", earlier, later) == 0.0


def test_a_worker_that_stands_still_handles_nothing() -> None:
    assert handling_rate("send", {"a": report(100, 10)}, {"a": report(100, 10)}) == 0.0


def test_workers_of_earlier_releases_report_no_rate() -> None:
    assert handling_rate("send", {"a": WorkerReport()}, {"a": WorkerReport()}) is None
    assert handling_rate("send", {}, {}) is None
