"""What a worker reports with each registration, for operators and other workers.

Every field but `protocol` is optional for readers: workers of earlier releases do not write it.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.codec import dumps, loads
from edgy_bus.errors import EventError
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.waits import WaitingCalls


class ReceiverReport(NamedTuple):
    """Tell what a worker does for a receiver.

    Attributes:
        handled: events that the receiver has handled since the worker began.
        jobs: events that the worker has in hand for the receiver.
        waiting: calls of these that wait for their next attempt, or for the end of a snooze.
        due: when the first of these calls is due, in seconds since 1970 by the worker's clock; 0
            without such a call.
    """

    handled: int = 0
    jobs: int = 0
    waiting: int = 0
    due: float = 0.0

    def with_jobs(self, count: int) -> "ReceiverReport":
        """Return the report with more events in hand."""
        return self._replace(jobs=self.jobs + count)

    def with_waiting(self, count: int, due: float) -> "ReceiverReport":
        """Return the report with more calls that wait."""
        first = min(self.due or due, due)
        return self._replace(waiting=self.waiting + count, due=first)


_NOTHING = ReceiverReport()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """Hold the report of a worker as others read it.

    Attributes:
        at: when it was written, in seconds since 1970 by the worker's clock; 0 if unknown.
        receivers: what the worker does for each receiver that has had work.
    """

    at: float = 0.0
    receivers: Mapping[str, ReceiverReport] = field(default_factory=dict)

    def of(self, receiver: str) -> ReceiverReport:
        """Return what the worker does for a receiver."""
        return self.receivers.get(receiver, _NOTHING)


class Busy(Protocol):
    """What a tenure tells about its work."""

    def jobs_by_receiver(self) -> Mapping[str, int]: ...

    def waiting(self, now: float) -> Iterable[WaitingCalls]: ...


def write_report(
    stats: Stats, tenures: Sequence[Busy], receivers: Iterable[str], now: float
) -> bytes:
    """Return the report of a worker.

    Args:
        stats: the counts of the worker.
        tenures: the tenures that the worker has.
        receivers: the names of its receivers.
        now: the time of the loop's clock, by which calls wait.
    """
    at = time.time()
    calls = {name: ReceiverReport(handled=count) for name, count in stats.handled_by.items()}
    for tenure in tenures:
        for name, count in tenure.jobs_by_receiver().items():
            calls[name] = calls.get(name, _NOTHING).with_jobs(count)
        for name, count, due in tenure.waiting(now):
            calls[name] = calls.get(name, _NOTHING).with_waiting(count, at + due - now)
    return dumps(
        {
            "protocol": PROTOCOL.version,
            "handled": stats.handled,
            "skipped": stats.skipped,
            "retries": stats.retries,
            "dead": stats.dead,
            "partitions": len(tenures),
            "receivers": sorted(set(receivers)),
            "at": round(at, 3),
            # Lists, because every worker writes this more than once in a second.
            "calls": {name: [*each[:3], round(each.due, 3)] for name, each in calls.items()},
        }
    )


def read_report(report: bytes) -> WorkerReport:
    """Return what a report says; that of another program, or of an old release, says nothing."""
    try:
        values = loads(report)
        calls = {
            str(name): ReceiverReport(int(handled), int(jobs), int(waiting), float(due))
            for name, (handled, jobs, waiting, due) in values["calls"].items()
        }
        return WorkerReport(float(values["at"]), calls)
    except (EventError, AttributeError, LookupError, OverflowError, TypeError, ValueError):
        return WorkerReport()
