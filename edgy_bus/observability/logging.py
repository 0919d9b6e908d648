"""Writes each notice as a line to Python's `logging`, under the logger `edgy_bus`."""

import logging
from collections.abc import Callable

from edgy_bus import telemetry
from edgy_bus.reasons import printable
from edgy_bus.telemetry import Notice

_logger = logging.getLogger("edgy_bus")

_LONGEST_FIELD = 2_500
"""Characters of a field in a log line. Reasons of receivers, at most 2,000, are shown whole."""


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


def _write(notice: Notice) -> None:
    # `dictConfig` disables every logger that its configuration does not name, at any time.
    # The level of the logger decides what is written.
    _logger.disabled = False
    # Before any text is made: frequent notices are below the level of most programs.
    level = notice.severity
    if not _logger.isEnabledFor(level):
        return
    values = notice.values()
    trace = values.pop("trace", "")
    if level >= logging.WARNING and notice.remedy:
        values["remedy"] = notice.remedy
    fields = " ".join(f"{name}={_field(values[name])}" for name in values)
    record = _logger.makeRecord(
        _logger.name, level, __file__, 0, "%s %s", (notice.name, fields), None, notice.name
    )
    # Formatters append this text to the line. Not `exc_info`, of which formatters would make a text
    # with values of rows, and of any length.
    record.exc_text = trace or None
    _logger.handle(record)


def _field(value: object) -> str:
    # Cut before the walk through the letters: the text of an error may have any length.
    text = str(value)
    if len(text) > _LONGEST_FIELD:
        text = f"{text[:_LONGEST_FIELD]}…"
    text = printable(text)
    return repr(text) if " " in text else text
