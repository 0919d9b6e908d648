"""Find the receiver that keeps the other receivers of a partition waiting.

A partition is read once for all receivers of its group. A receiver that is slower than the events
come fills the memory that its partition may take, and then nothing is read for the others. Such a
receiver is set aside: it reads in a group of its own, at its own pace, until it has caught up.
"""

from collections.abc import Collection, Mapping

PATIENCE = 1.0
"""Seconds for which nothing was read before the slow receiver is set aside."""


def slowest(jobs: Mapping[str, int], receivers: Collection[str]) -> str | None:
    """Return the receiver that keeps others waiting; None if all of them are as slow.

    Args:
        jobs: receiver to its jobs in hand.
        receivers: the receivers that take part.
    """
    if len(receivers) < 2:
        return None
    # By name among equals, so that every look finds the same receiver.
    most = max(receivers, key=lambda name: (jobs.get(name, 0), name))
    least = min(jobs.get(name, 0) for name in receivers)
    return most if least * 2 < jobs.get(most, 0) else None


class Slowness:
    """Remember since when nothing is read, and which receiver is the reason.

    Attributes:
        receiver: the receiver that is to be set aside; empty until one is found.
    """

    def __init__(self) -> None:
        self.receiver = ""
        self._since: float | None = None

    def look(self, now: float, *, is_full: bool, slow: str | None) -> None:
        """Take note of the state of a partition, several times a second.

        Args:
            now: the time in seconds.
            is_full: whether jobs that wait keep others from being read.
            slow: the answer of `slowest`.
        """
        # One decision for a tenure: it ends because of the decision.
        if self.receiver:
            return
        if not is_full or slow is None:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= PATIENCE:
            self.receiver = slow
