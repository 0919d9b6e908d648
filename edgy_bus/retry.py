"""Decide when a failed receiver is called again, and name the outcomes that a receiver can return.

The policy is pure: no state, no clock.
"""

import math
import random
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TypeGuard

from edgy_bus.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Retry:
    """Say how often and when a receiver that raised is called again with the same event.

    The delay before attempt n+1 is `delay * factor**(n-1)` seconds, at most `ceiling`. A random
    share of up to `jitter` is taken off. When `attempts` calls have failed, the event goes to the
    dead letters.

    Args:
        attempts: calls of the receiver for one event, the first call included.
        delay: seconds between the first failed call and the second call.
        factor: the growth of the delay from attempt to attempt.
        ceiling: the longest delay, in seconds.
        jitter: the largest share of a delay, 0 to 1, that chance may take off.

    Raises:
        ConfigurationError: for a value out of range.
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
                f"{self}: delay and ceiling must not be negative, factor must be at least 1, "
                "jitter between 0 and 1"
            )

    def wait(self, failed: int, chance: float | None = None) -> float | None:
        """Return the seconds until the next attempt; None when no attempt is left.

        Args:
            failed: how many calls have failed so far; at least 1.
            chance: a number between 0 and 1 that replaces the random number, for tests.
        """
        if failed >= self.attempts:
            return None
        try:
            full = min(self.ceiling, self.delay * self.factor ** (failed - 1))
        except OverflowError:
            # With very many attempts the power exceeds a float, long after it passed the ceiling.
            full = self.ceiling if self.delay else 0.0
        # Jitter spreads rows that failed together, for example because their downstream was away.
        # Without it they would all come back in the same instant and overload the downstream again.
        draw = random.random() if chance is None else chance
        return full * (1 - self.jitter * draw)


LONGEST = 366 * 86_400.0
"""The most seconds that a receiver may ask to wait: a year, so that no row waits for ever."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Ask for another attempt in `after` seconds (None: by the policy); counts as a failed call.

    Raises:
        ConfigurationError: for a delay that is no number of seconds from 0 to a year.
    """

    after: float | None = None

    def __post_init__(self) -> None:
        if self.after is not None:
            _check_seconds("retry(after=…)", self.after)


@dataclass(frozen=True, slots=True)
class Snooze:
    """Ask for another call in `seconds`; counts no attempt.

    Raises:
        ConfigurationError: for a delay that is no number of seconds from 0 to a year.
    """

    seconds: float

    def __post_init__(self) -> None:
        _check_seconds("snooze(…)", self.seconds)


@dataclass(frozen=True, slots=True)
class Bury:
    """Give the event up: it goes to the dead letters with this reason."""

    reason: str


Asked = RetryLater | Snooze | Bury
"""An outcome that a receiver returned, instead of success or an error."""


def retry(*, after: float | timedelta | None = None) -> RetryLater:
    """Return an outcome that asks for another attempt; a receiver returns the result.

    Args:
        after: the delay in seconds; None takes the delay of the receiver's `Retry`.
    """
    return RetryLater(None if after is None else _seconds(after))


def snooze(after: float | timedelta) -> Snooze:
    """Return an outcome that asks for a call in `after` seconds and counts no attempt."""
    return Snooze(_seconds(after))


def dead_letter(reason: str | BaseException) -> Bury:
    """Return an outcome that moves the event to the dead letters: no attempt can succeed.

    Args:
        reason: the text that the dead letter keeps; of an error, its type and text.
    """
    if isinstance(reason, BaseException):
        return Bury(f"{type(reason).__name__}: {reason}")
    if not isinstance(reason, str):
        raise ConfigurationError(
            f"dead_letter({reason!r}): write the reason as text, or give the error"
        )
    return Bury(reason)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number. True and False do not count as 1 and 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value)


def _check_seconds(outcome: str, seconds: object) -> None:
    # Refused where the outcome is made, which is the receiver's failed attempt: a delay of NaN
    # would call the receiver without a pause, an infinite delay would hold its row for ever.
    if not is_finite(seconds) or not 0 <= seconds <= LONGEST:
        raise ConfigurationError(
            f"{outcome}: {seconds!r} is no number of seconds from 0 to {LONGEST:.0f} (a year)"
        )


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
