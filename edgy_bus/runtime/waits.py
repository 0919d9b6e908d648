"""Know how many calls wait for a time, of each receiver, and when the first of them is due."""

import heapq
from collections.abc import Iterator
from typing import NamedTuple


class WaitingCalls(NamedTuple):
    """Say how many calls of a receiver wait, and when the first is due, by the loop's clock."""

    receiver: str
    calls: int
    due: float


class Waits:
    """Hold the times for which calls of a partition wait: until an attempt, or a snooze's end."""

    def __init__(self) -> None:
        self._due: dict[str, list[float]] = {}
        """Receiver to the times of its calls, as heaps."""

    def add(self, receiver: str, due: float) -> None:
        """Take note of a call that waits until a time of the loop's clock."""
        heapq.heappush(self._due.setdefault(receiver, []), due)

    def at(self, now: float) -> Iterator[WaitingCalls]:
        """Yield the receivers whose calls wait at a time; times only rise."""
        for receiver, times in list(self._due.items()):
            # No call waits beyond its time, so nobody has to take a call out.
            while times and times[0] <= now:
                heapq.heappop(times)
            if times:
                yield WaitingCalls(receiver, len(times), times[0])
            else:
                del self._due[receiver]
