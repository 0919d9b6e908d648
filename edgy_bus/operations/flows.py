"""How many events come and go in a second: the difference of two looks at the same counters."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgy_bus.runtime.worker_report import WorkerReport


@dataclass(frozen=True, slots=True)
class Rates:
    """How many events of a group come and go in a second."""

    arriving: float
    """Events that are published on the streams of the group."""
    finishing: float
    """Events that every receiver of the group has finished."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What has come and gone so far on the streams of a group whose events the broker counts."""

    streams: int = 0
    """Streams whose events are counted: none on Redis before 7.0."""
    arrived: int = 0
    finished: int = 0

    def plus(self, read: int | None, unread: int | None, unfinished: int) -> "Flow":
        """Return the flow with another stream; None where the broker does not count."""
        if read is None or unread is None:
            return self
        return Flow(
            self.streams + 1, self.arrived + read + unread, self.finished + read - unfinished
        )

    def since(self, earlier: "Flow", seconds: float) -> Rates | None:
        """Return the rates since an earlier look; None if the two cannot be compared."""
        arrived, finished = self.arrived - earlier.arrived, self.finished - earlier.finished
        # A stream that is counted from now on brings its past along, and a loss takes some away.
        if self.streams != earlier.streams or not self.streams or min(arrived, finished) < 0:
            return None
        if seconds <= 0:
            return None
        return Rates(arrived / seconds, finished / seconds)


def handling_rate(
    receiver: str, earlier: Mapping[str, WorkerReport], later: Mapping[str, WorkerReport]
) -> float | None:
    """Return the events that workers handle for a receiver in a second; None if nobody knows.

    Args:
        receiver: the receiver.
        earlier: the report of each live worker at the first look.
        later: the reports at the second look.
    """
    rates = []
    for worker in earlier.keys() & later.keys():
        before, after = earlier[worker], later[worker]
        # By the clock of the worker: its reports are a little older than the looks.
        if not before.at or after.at < before.at:
            continue
        count = after.of(receiver).handled - before.of(receiver).handled
        # The same report twice: the event loop of the worker stands still, and handles nothing.
        rates.append(max(0, count) / (after.at - before.at) if after.at > before.at else 0.0)
    return sum(rates) if rates else None
