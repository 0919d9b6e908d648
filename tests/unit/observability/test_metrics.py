"""The series of a process: what notices and measurements add, and what outlasts a process."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgy_bus import telemetry
from edgy_bus.observability.metrics import (
    MOST_SERIES,
    Ledger,
    Sums,
    lasting,
    merged,
    packed,
    series_of,
    unpacked,
)
from edgy_bus.telemetry import Distribution, catalogue, measurements
from tests.unit.observability import table

HANDLED = "edgy_bus_receiver_handled_events_total"
TIMES = Distribution((1,) + (0,) * 14, 0.5)
SEND = ("mail", "send")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


def handled(count: int) -> measurements.EventsHandled:
    return measurements.EventsHandled(group="mail", receiver="send", count=count)


def test_counters_and_histograms_add_up(ledger: Ledger) -> None:
    calls = measurements.CallsEnded(group="mail", receiver="send", times=TIMES)
    telemetry.measure([handled(2), calls])
    telemetry.measure([handled(3), calls])
    telemetry.emit(catalogue.RelayPublished(partition="accounts.User:0", count=7))
    telemetry.emit(catalogue.RelayPublished(partition="accounts.User:1", count=1))
    telemetry.emit(catalogue.WorkerDied(status=-9))
    telemetry.emit(catalogue.BrokerAvailable(part="relay"))  # feeds no metric
    series = ledger.series()
    assert series[HANDLED, SEND] == 5
    assert series["edgy_bus_receiver_duration_seconds", SEND] == TIMES.plus(TIMES)
    assert series["edgy_bus_relay_published_events_total", ()] == 8
    assert series["edgy_bus_worker_deaths_total", ()] == 1


def test_a_counter_without_labels_begins_at_zero(ledger: Ledger) -> None:
    # From nothing to 1 is no increase for Prometheus.
    assert ledger.series()["edgy_bus_worker_deaths_total", ()] == 0


def test_nothing_is_counted_after_the_end(ledger: Ledger) -> None:
    ledger.close()
    telemetry.measure([handled(1)])
    telemetry.emit(catalogue.WorkerDied(status=1))
    assert ledger.series()["edgy_bus_worker_deaths_total", ()] == 0
    assert (HANDLED, SEND) not in ledger.series()
    assert not telemetry.is_measured()


FORKS = """
import os
from edgy_bus import telemetry
from edgy_bus.observability.metrics import Ledger
from edgy_bus.telemetry import catalogue
ledger = Ledger()
with ledger._lock:  # as if another thread read the series at this moment
    child = os.fork()
    if child == 0:
        telemetry.emit(catalogue.WorkerDied(status=1))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_forked_process_waits_for_no_thread_of_its_parent() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=20)


def test_labels_are_bounded_text() -> None:
    lost = catalogue.RelayResynchronised(partition="p", marked=0, lost=True)
    assert list(series_of(lost)) == [("edgy_bus_relay_repairs_total", ("true",))]
    absent = catalogue.GroupAbsent(group="a\nb" + "c" * 1_000, partition="p")
    ((_, (label,)),) = series_of(absent)
    assert label.startswith("a b")
    assert len(label) == 200
    sums = Sums()
    for number in range(MOST_SERIES + 5):
        sums.add(series_of(catalogue.GroupAbsent(group=f"g{number}", partition="p")))
    sums.add(series_of(catalogue.GroupAbsent(group="g0", partition="p")))
    sums.add(series_of(catalogue.WorkerDied(status=1)))  # each metric has a bound of its own
    assert len(sums.series) == MOST_SERIES + 2
    assert sums.series["edgy_bus_group_absences_total", ("other",)] == 5
    assert sums.series["edgy_bus_group_absences_total", ("g0",)] == 2


def test_series_pass_to_another_process_unchanged() -> None:
    leases = measurements.LeasesHeld(group="mail", count=4)
    calls = measurements.CallsEnded(group="mail", receiver="send", times=TIMES)
    series = merged(map(series_of, [handled(2), leases, calls]))
    assert unpacked(packed(series)) == series
    assert unpacked(b'[["edgy_bus_of_a_later_release", [], 1]]') == {}
    for garbled in (b"", b"[", b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
            unpacked(garbled)


def test_gauges_end_with_their_process() -> None:
    leases = measurements.LeasesHeld(group="mail", count=4)
    series = merged(map(series_of, [handled(2), leases]))
    assert lasting(series) == {(HANDLED, SEND): 2}
    # Several processes hold leases of one group.
    assert merged([series, series])["edgy_bus_worker_leases", ("mail",)] == 8


def test_the_page_of_metrics_lists_all_of_them() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.written(page) == page, "run: python -m tests.unit.observability.table"
    assert table.rows() in page
