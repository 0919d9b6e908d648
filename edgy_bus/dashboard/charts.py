"""Charts of a group as shapes: columns of events and errors, lines where a version begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from edgy_bus.brokers.base import Tally
from edgy_bus.operations import WorkHistory

WIDTH, HEIGHT = 864, 120
"""Units of a drawing; browsers scale it."""

_LINES = 3
"""Hours between two lines of time: eight in a day."""

_LETTER = 7
"""Units of a letter of a version."""

_LETTERS = 14
"""The most letters of a version that a chart shows."""


class Column(NamedTuple):
    """A column of a chart: its place, its width, its height from below, and its words."""

    x: float
    y: float
    width: float
    height: float
    words: str


class Mark(NamedTuple):
    """A vertical line with a text: an hour, or a version that begins."""

    x: float
    text: str
    ends: bool = False
    """Whether the text ends at the line, and does not begin there."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of a day.

    Attributes:
        most: the number at the top of the chart.
        columns: the columns, for steps that are not empty.
        hours: lines of time.
        versions: lines where a version begins.
    """

    most: int
    columns: tuple[Column, ...]
    hours: tuple[Mark, ...]
    versions: tuple[Mark, ...]


def events_of(history: WorkHistory) -> Chart:
    """Return the chart of the events that were handled."""
    return _chart(history, lambda tally: tally.handled, _handled)


def errors_of(history: WorkHistory) -> Chart:
    """Return the chart of repeated calls and dead letters."""
    return _chart(history, lambda tally: tally.retried + tally.dead, _failed)


def _handled(tally: Tally) -> str:
    return f"{tally.handled:,} handled"


def _failed(tally: Tally) -> str:
    return f"{tally.retried:,} tried again, {tally.dead:,} dead letters"


def _chart(
    history: WorkHistory, value: Callable[[Tally], int], words: Callable[[Tally], str]
) -> Chart:
    values = [value(step.tally) for step in history.steps]
    most = max(1, *values)
    width = WIDTH / len(values)
    columns = []
    for place, (step, number) in enumerate(zip(history.steps, values, strict=True)):
        if number > 0:
            # An event in a busy day is seen, too.
            height = round(max(1.5, number / most * HEIGHT), 1)
            text = f"{step.at:%H:%M}: {words(step.tally)}"
            columns.append(Column(round(place * width, 1), HEIGHT - height, width, height, text))
    begin = history.steps[0].at
    span = timedelta(minutes=history.minutes * len(values))
    return Chart(most, tuple(columns), _hours(begin, span), _versions(history, begin, span))


def _hours(begin: datetime, span: timedelta) -> tuple[Mark, ...]:
    hour = begin.replace(minute=0, second=0, microsecond=0)
    moments: Sequence[datetime] = [hour + timedelta(hours=number) for number in range(26)]
    return tuple(
        Mark(_x(moment, begin, span), f"{moment:%H:%M}")
        for moment in moments
        if moment.hour % _LINES == 0 and begin <= moment < begin + span
    )


def _versions(history: WorkHistory, begin: datetime, span: timedelta) -> tuple[Mark, ...]:
    marks: list[Mark] = []
    right: float = WIDTH
    # The newest first: of texts that would stand on top of each other, it is the one to read. The
    # words below the chart have all of them.
    for change in reversed(history.versions):
        x, text = _x(change.at, begin, span), _short(change.version)
        width = (len(text) + 1) * _LETTER
        if x + width <= right:
            marks.append(Mark(x, text))
        elif not marks:
            marks.append(Mark(x, text, ends=True))
            x -= width
        else:
            marks.append(Mark(x, ""))
        right = x
    return tuple(reversed(marks))


def _short(version: str) -> str:
    return version if len(version) <= _LETTERS else f"{version[: _LETTERS - 1]}…"


def _x(moment: datetime, begin: datetime, span: timedelta) -> float:
    return round((moment - begin) / span * WIDTH, 1)
