"""The calls that wait for their next attempt, as the live workers of a group report."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from edgy_bus.brokers.base import Members
from edgy_bus.runtime.worker_report import ReceiverReport, WorkerReport, read_report

_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Calls that wait for their next attempt, or for the end of a snooze."""

    count: int = 0
    due: datetime | None = None
    """When the first of them is due, by the clock of its worker; None without such a call."""


def reports_of(members: Members) -> Mapping[str, WorkerReport]:
    """Return the report of each live worker. A worker that is gone calls nobody."""
    return {name: read_report(members.reports.get(name, b"")) for name in members.alive}


def waiting_in(reports: Mapping[str, WorkerReport], receiver: str | None = None) -> Waiting:
    """Return the calls that wait, of all receivers of a group or of one.

    Args:
        reports: the reports of the group's workers, as `reports_of` returns them.
        receiver: the receiver; None for all.
    """
    if receiver is not None:
        return _sum_of(report.of(receiver) for report in reports.values())
    return _sum_of(each for report in reports.values() for each in report.receivers.values())


def _sum_of(reports: Iterable[ReceiverReport]) -> Waiting:
    """Return the calls of all reports that wait."""
    count, times = 0, []
    for report in reports:
        count += report.waiting
        # Any program may have written the report.
        if report.waiting and 0 < report.due < _LATEST:
            times.append(report.due)
    return Waiting(count, datetime.fromtimestamp(min(times), UTC) if times else None)
