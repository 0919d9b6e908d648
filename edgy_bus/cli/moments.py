"""Times in options: a moment, how long ago, or a length of time."""

import re
from datetime import UTC, datetime, timedelta

from edgy_bus.errors import ConfigurationError

_AGO = re.compile(r"(\d+)([smhd])")
_DIGITS = 8
_LONGEST = timedelta(days=365)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str | None) -> datetime | None:
    """Return the time that an option names: `2h` is two hours ago. A time without zone is local.

    Raises:
        ConfigurationError: for a text that is no time.
    """
    if text is None:
        return None
    # By the clock of this machine; the doctor reports a broker whose clock differs.
    if ago := _AGO.fullmatch(text):
        duration = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.now(UTC) - duration
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is not a time: write 30m, 2h, 7d, or a time like 2026-11-27T15:00"
        ) from error


def duration(text: str) -> timedelta:
    """Return the length of time that an option names, for example `2h`: at most a year.

    Raises:
        ConfigurationError: for a text that is no such length.
    """
    written = _AGO.fullmatch(text)
    # Digits beyond that would be no length that Python knows.
    if written is not None and len(written[1]) <= _DIGITS:
        length = timedelta(**{_UNITS[written[2]]: int(written[1])})
        if timedelta(0) < length <= _LONGEST:
            return length
    raise ConfigurationError(f"{text!r} is not a length of time: write 30s, 15m, 2h or 7d")


def in_text(time: datetime) -> str:
    """Return a time for people: in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
