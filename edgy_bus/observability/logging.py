"""Writes each notice as a line to Python's `logging`, under the logger `edgy_bus`."""

import logging
from collections.abc import Callable

from edgy_bus import telemetry
from edgy_bus.telemetry import Notice

_logger = logging.getLogger("edgy_bus")


class _Writers:
    """Counts the callers that want a log, so that all callers together get a single line."""

    def __init__(self) -> None:
        self.count = 0
        self.stop: Callable[[], None] | None = None

    def add(self) -> None:
        self.count += 1
        if self.stop is None:
            self.stop = telemetry.listen(_write)

    def remove(self) -> None:
        self.count -= 1
        # Other callers still want the log, in the same process.
        if self.count == 0 and self.stop is not None:
            self.stop()
            self.stop = None


_writers = _Writers()


def log_telemetry() -> Callable[[], None]:
    """Log notices from now on.

    Every running bus and worker calls this function. A program of several writes each notice once.

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


def printable(value: object) -> str:
    """Return a value as a line without control characters.

    The text of an error or of an entry may contain anything that a stranger has written.
    """
    return "".join(letter if letter.isprintable() else " " for letter in str(value))


def _write(notice: Notice) -> None:
    # Before any text is made: frequent notices are below the level of most programs.
    if not _logger.isEnabledFor(notice.level):
        return
    values = notice.values()
    fields = " ".join(f"{name}={_field(values[name])}" for name in values)
    _logger.log(notice.level, "%s %s", notice.name, fields)


def _field(value: object) -> str:
    text = printable(value)
    return repr(text) if " " in text else text
