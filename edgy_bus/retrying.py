"""Decide when a failed receiver is called again, and name the outcomes that a receiver can return.

The policy is pure: no state, no clock.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TypeGuard

from edgy_bus.errors import ConfigurationError
from edgy_bus.reasons import bounded, describe

LONGEST = 366 * 86_400.0
"""The most seconds that a receiver may wait: a year, so that no row waits for ever."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "attempts": (1, 1_000_000),
    "delay": (0, LONGEST),
    "factor": (1, 1_000_000),
    "ceiling": (0, LONGEST),
    "jitter": (0, 1),
}


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
        ConfigurationError: for a value out of range. Delays are at most a year, the growth and the
            number of attempts at most a million.
    """

    attempts: int = 8
    delay: float = 0.5
    factor: float = 3.0
    ceiling: float = 300.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        for number in fields(Retry):
            least, most = _RANGES[number.name]
            value = getattr(self, number.name)
            if not is_finite(value) or not least <= value <= most:
                raise ConfigurationError(
                    f"Retry({number.name}={shown(value)}): write a number from {least:g} to "
                    f"{most:g}, {number.name}={number.default} for example"
                )
        if self.attempts != int(self.attempts):
            raise ConfigurationError(
                f"Retry(attempts={self.attempts}): a receiver is called a whole number of times"
            )

    def longest(self) -> float:
        """Return the most seconds from the first call to the last, without the calls themselves."""
        total, failed = 0.0, 1
        while failed < self.attempts:
            wait = min(self.ceiling, self.delay * float(self.factor) ** (failed - 1))
            # From here on all waits are the same.
            if wait >= self.ceiling or self.factor == 1:
                return total + wait * (self.attempts - failed)
            total, failed = total + wait, failed + 1
        return total

    def wait(self, failed: int, chance: float | None = None) -> float | None:
        """Return the seconds until the next attempt; None when no attempt is left.

        Args:
            failed: how many calls have failed so far; at least 1.
            chance: a number between 0 and 1 that replaces the random number, for tests.
        """
        if failed >= self.attempts:
            return None
        try:
            # As a float: the power of an int may have millions of digits.
            full = min(self.ceiling, self.delay * float(self.factor) ** (failed - 1))
        except OverflowError:
            # With very many attempts the power exceeds a float, long after it passed the ceiling.
            full = self.ceiling if self.delay else 0.0
        # Jitter spreads rows that failed together, for example because their downstream was away.
        # Without it they would all come back in the same instant and overload the downstream again.
        draw = random.random() if chance is None else chance
        return full * (1 - self.jitter * draw)


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
    """Give the event up: it goes to the dead letters with this reason, cut to 2,000 characters.

    Attributes:
        reason: the text that the dead letter keeps.
        error: the error that is the reason, for the log and for `Bus.on_error`.

    Raises:
        ConfigurationError: for a reason that is no text, or an error that is none.
    """

    reason: str
    error: BaseException | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.reason, str):
            raise ConfigurationError(
                f"dead_letter(…): the reason is a {type(self.reason).__name__}; "
                "write the reason as text, or give the error"
            )
        if self.error is not None and not isinstance(self.error, BaseException):
            raise ConfigurationError("dead_letter(…): the error is no exception")
        # Plain text: a subclass of `str` may have methods of its own.
        object.__setattr__(self, "reason", bounded(str.__str__(self.reason)))


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


def dead_letter(reason: object) -> Bury:
    """Return an outcome that moves the event to the dead letters: no attempt can succeed.

    Args:
        reason: the text that the dead letter keeps, or an object that has a text of its own, for
            example a translation that is made late. Of an error, its type and its text, which for
            an error of pydantic has no values; the log shows its traceback.

    Raises:
        ConfigurationError: for a reason without a text, for example None.
    """
    if isinstance(reason, str):
        return Bury(reason)
    if isinstance(reason, BaseException):
        return Bury(describe(reason), reason)
    if type(reason).__str__ is object.__str__ or isinstance(reason, bytes | bytearray):
        raise ConfigurationError(
            f"dead_letter({shown(reason)}): write the reason as text, or give the error"
        )
    return Bury(str(reason))


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number. True and False do not count as 1 and 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        # An int beyond every float.
        return False


def is_wait(value: object) -> TypeGuard[float]:
    """Return whether a value is a number of seconds from 0 to a year."""
    return is_finite(value) and 0 <= value <= LONGEST


def shown(value: object) -> str:
    """Return a value for the text of an error, in bounded length. Never raises."""
    try:
        # The digits of a very large int take minutes, and Python refuses to make them.
        return bounded(repr(value))[:100]
    except Exception:  # noqa: BLE001 - `__repr__` may be the application's code
        return f"a {type(value).__name__}"


def _check_seconds(outcome: str, seconds: object) -> None:
    # Refused where the outcome is made, which is the receiver's failed attempt: a delay of NaN
    # would call the receiver without a pause, an infinite delay would hold its row for ever.
    if not is_wait(seconds):
        raise ConfigurationError(
            f"{outcome}: {shown(seconds)} is no number of seconds from 0 to {LONGEST:.0f} (a year)"
        )


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value
