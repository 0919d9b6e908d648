"""Writes notices to Python's `logging`, one line each, under the logger `edgy_bus`."""

import logging
from collections.abc import Callable
from typing import Any

from edgy_bus import telemetry
from edgy_bus.telemetry import Notice

_logger = logging.getLogger("edgy_bus")


class _Writers:
    """Counts who wants notices to be logged: each notice is one line, however many ask for it."""

    def __init__(self) -> None:
        self.count = 0
        self.stop: Callable[[], None] | None = None

    def add(self) -> None:
        self.count += 1
        if self.stop is None:
            self.stop = telemetry.listen(_write)

    def remove(self) -> None:
        self.count -= 1
        if self.count == 0 and self.stop is not None:
            self.stop()
            self.stop = None


_writers = _Writers()


def log_telemetry() -> Callable[[], None]:
    """Log notices from now on.

    Every running bus calls this function, so a program of several buses writes each notice once.

    Returns:
        A function that ends the logging once every caller of `log_telemetry` has called its own.
        Calling the function again does nothing.
    """
    _writers.add()
    ended = False

    def stop() -> None:
        nonlocal ended
        if not ended:
            ended = True
            _writers.remove()

    return stop


def _write(notice: Notice) -> None:
    if not _logger.isEnabledFor(notice.level):
        return
    fields = " ".join(f"{key}={_printable(value)}" for key, value in notice.values().items())
    _logger.log(notice.level, "%s %s", notice.name, fields)


def _printable(value: Any) -> str:
    """Return one line without control characters, no matter what an error or an entry contained."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return repr(text) if " " in text else text
