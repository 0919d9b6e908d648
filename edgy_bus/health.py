"""Decide whether a program is well: one decision, which a file and an HTTP server show.

Liveness is progress, and readiness is the first success. A probe pays for what is imported here.
"""

import time

HEALTH_AGE = 30.0
"""Seconds without progress after which a program counts as hanging."""


def complaint(
    subject: str, age: float, *, is_ready: bool, needs_ready: bool, most: float = HEALTH_AGE
) -> str | None:
    """Return what is wrong with a program; None for a program that is well.

    Args:
        subject: the program, or its file, as the message names it.
        age: seconds since the last progress.
        is_ready: whether the program has worked since its start.
        needs_ready: whether a program that has not worked yet is a finding.
        most: seconds without progress after which a program counts as hanging.
    """
    # A program that hangs makes no progress, though its process is alive.
    if age > most:
        return f"{subject} has made no progress for {age:.0f} s, more than {most:g}"
    if needs_ready and not is_ready:
        return f"{subject} is not ready: it has not worked yet since its start"
    return None


class Pulse:
    """Remember the last progress of a program of this process, and whether it has worked."""

    def __init__(self) -> None:
        self.is_ready = False
        self._last = time.monotonic()

    def beat(self, *, is_ready: bool = False) -> None:
        """Note progress; `is_ready` lasts once it is True."""
        self.is_ready = self.is_ready or is_ready
        self._last = time.monotonic()

    @property
    def age(self) -> float:
        """Return the seconds since the last progress, or since the start without progress."""
        return time.monotonic() - self._last

    def complaint(self, *, needs_ready: bool) -> str | None:
        """Return what is wrong with the program; None if it is well."""
        return complaint("the program", self.age, is_ready=self.is_ready, needs_ready=needs_ready)
