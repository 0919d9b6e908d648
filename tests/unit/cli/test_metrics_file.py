"""The metrics that processes hand to their supervisor, also those of processes that ended."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from edgy_bus import telemetry
from edgy_bus.cli.metrics_file import ChildMetrics, MetricsFile
from edgy_bus.observability.metrics import Series, merged, packed
from edgy_bus.telemetry import Measurement, measurements
from tests.support import Told, eventually

HANDLED = ("edgy_bus_receiver_handled_events_total", ("mail", "send"))
LEASES = ("edgy_bus_worker_leases", ("mail",))


def state() -> Iterable[Measurement]:
    return [measurements.LeasesHeld(group="mail", count=4)]


async def test_a_process_writes_what_it_counts_and_holds(tmp_path: Path) -> None:
    metrics = ChildMetrics(tmp_path, 1)
    async with MetricsFile(metrics.files[0]) as file:
        file.states = state
        telemetry.measure([measurements.EventsHandled(group="mail", receiver="send", count=2)])

        def is_written() -> bool:
            return merged(metrics.series()).get(LEASES) == 4

        await eventually(is_written)
        telemetry.measure([measurements.EventsHandled(group="mail", receiver="send", count=1)])
    # The end of a process is written as well, and nothing is counted afterwards.
    assert merged(metrics.series())[HANDLED] == 3
    assert not telemetry.is_measured()


def test_a_process_that_ended_counts_once_and_holds_nothing(tmp_path: Path) -> None:
    metrics = ChildMetrics(tmp_path, 2)
    for file in metrics.files:
        series: Series = {HANDLED: 5.0, LEASES: 4.0}
        file.write_bytes(packed(series))
    assert merged(metrics.series()) == {HANDLED: 10, LEASES: 8}
    metrics.retire(metrics.files[0])
    assert merged(metrics.series()) == {HANDLED: 10, LEASES: 4}
    metrics.retire(metrics.files[0])  # its successor died before it wrote anything
    assert merged(metrics.series()) == {HANDLED: 10, LEASES: 4}


@pytest.mark.parametrize("content", [b"", b"[[", b"null"])
def test_a_file_of_another_form_counts_nothing(tmp_path: Path, content: bytes) -> None:
    metrics = ChildMetrics(tmp_path, 1)
    metrics.files[0].write_bytes(content)
    assert merged(metrics.series()) == {}


def test_a_file_that_cannot_be_written_is_reported_once(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "missing" / "metrics.0")
    with Told() as told:
        for _ in range(2):
            file._write()
    file._ledger.close()
    assert told.names() == ["metrics.failed"]
