"""When a failed receiver is tried again: a pure policy, and the outcomes a receiver may ask for itself."""

import math
import random
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TypeGuard

from edgy_bus.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a receiver that raised is called again with the same event.

    The delay before attempt n+1 is `delay * factor**(n-1)` seconds, at most `ceiling`, of which a random share up to
    `jitter` (0 to 1) is taken off, so that many rows that failed together do not come back together. When `attempts` calls
    have failed, the event goes to the dead letters.
    """

    attempts: int = 8
    delay: float = 0.5
    factor: float = 3.0
    ceiling: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        for number in fields(self):
            value = getattr(self, number.name)
            if not is_finite(value):
                raise ConfigurationError(
                    f"Retry({number.name}={value!r}): write a finite number, "
                    f"{number.name}={number.default} for example"
                )
        if self.attempts < 1 or self.attempts != int(self.attempts):
            raise ConfigurationError(
                f"Retry(attempts={self.attempts}): a receiver is called at least once, "
                "and a whole number of times"
            )
        if self.delay < 0 or self.ceiling < 0 or self.factor < 1 or not 0 <= self.jitter <= 1:
            raise ConfigurationError(
                f"{self}: delay and ceiling must not be negative, factor at least 1, jitter between 0 and 1"
            )

    def wait(self, failed: int, chance: float | None = None) -> float | None:
        """Seconds until the next attempt after `failed` failed ones; None when there is none left.

        `chance` (0 to 1) takes the place of the random number, for tests.
        """
        if failed >= self.attempts:
            return None
        try:
            full = min(self.ceiling, self.delay * self.factor ** (failed - 1))
        except OverflowError:  # a power beyond what a float holds
            full = self.ceiling if self.delay else 0.0
        draw = random.random() if chance is None else chance
        return full * (1 - self.jitter * draw)


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The receiver asks for another attempt; it counts as a failed one."""

    after: float | None = None


@dataclass(frozen=True, slots=True)
class Snooze:
    """The receiver asks to be called again later; no attempt is counted."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Bury:
    """The receiver gives the event up: it goes to the dead letters with this reason."""

    reason: str


Asked = RetryLater | Snooze | Bury


def retry(*, after: float | timedelta | None = None) -> RetryLater:
    """Return this from a receiver to be called again after `after` (seconds), or after what its policy says."""
    return RetryLater(None if after is None else _seconds(after))


def snooze(after: float | timedelta) -> Snooze:
    """Return this from a receiver to be called again after `after` (seconds) without an attempt being counted."""
    return Snooze(_seconds(after))


def dead_letter(reason: str) -> Bury:
    """Return this from a receiver when no attempt can succeed: the event is kept in the dead letters with `reason`."""
    return Bury(reason)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number. True and False do not count as 1 and 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
