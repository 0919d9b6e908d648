"""What `edgy-bus backfill` and `edgy-bus replay` share: the consent, the progress, the list."""

import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import typer

from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus
from edgy_bus.operations import Advance, Limits, Parts, Unfinished
from edgy_bus.operations.addressed import Course
from edgy_bus.operations.paced import Report
from edgy_bus.operations.unfinished import UNITS, Kind, unfinished_actions

T = TypeVar("T")

_EVERY = 10.0
"""Seconds between two lines of progress, where there is no terminal."""


def course_of(*, resume: bool, restart: bool) -> Course:
    """Return the course that two options name."""
    return "resume" if resume else "restart" if restart else "begin"


def show_unfinished(target: str, kind: Kind, *, as_json: bool) -> None:
    """List the actions of a kind that have begun and not ended."""
    place = Place(target, load_bus(target))
    unfinished = operate(place, lambda parts: unfinished_actions(parts, kind), databases=True)
    answer(
        f"{kind} --list",
        {"unfinished": unfinished},
        lambda: _print_unfinished(kind, unfinished),
        as_json=as_json,
        status=Exit.FINDING if unfinished else Exit.FINE,
    )


def confirm(amount: str, *, yes: bool, as_json: bool) -> None:
    """Ask whether to send; end the command without consent."""
    if yes:
        return
    # A script that forgot --yes must not wait for an answer.
    if as_json or not sys.stdin.isatty():
        raise ConfigurationError(f"to send {amount}, add --yes")
    typer.confirm(f"send {amount}?", abort=True)


def carry_out(
    place: Place,
    action: Callable[[Parts, Report], Awaitable[T]],
    start: Advance,
    unit: str,
    resuming: str,
) -> T:
    """Return the result of an action, and show its progress meanwhile.

    Args:
        place: the bus that the command names.
        action: takes the parts, and what is called with each advance.
        start: how far the action is.
        unit: what the advances count.
        resuming: the command that continues the action.
    """
    try:
        with _progress(start, unit) as report:
            return operate(place, lambda parts: action(parts, report), databases=True)
    except KeyboardInterrupt:
        # The transaction under way is taken back, with its progress: nothing is half done.
        typer.echo(f"interrupted; continue with: {resuming}", err=True)
        raise typer.Exit(Exit.FINDING) from None


def least_time(events: int, limits: Limits) -> str:
    """Return how long an action takes at least."""
    return f"{timedelta(seconds=round(events / limits.rate))} at least"


@contextmanager
def _progress(start: Advance, unit: str) -> Iterator[Report]:
    """Show each advance: in a bar on a terminal, else in a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines(unit).report
        return
    # rich is slow to import, and needed on a terminal only.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f}"), BarColumn())
    with Bar(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=start.total, completed=start.done)

        def report(advance: Advance) -> None:
            bar.update(task, completed=advance.done, description=pace(advance, unit))

        yield report


class _Lines:
    """Print an advance now and then, for a log."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._next = time.monotonic() + _EVERY

    def report(self, advance: Advance) -> None:
        """Print an advance, unless the last line is a moment ago."""
        # A log wants neither a line for each page nor silence.
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            counts = f"{advance.done:,} of {advance.total:,} {self._unit}"
            typer.echo("  ".join(filter(None, (counts, pace(advance, self._unit)))), err=True)


def pace(advance: Advance, unit: str) -> str:
    """Return rate and remaining time, and why nothing is sent, as far as they are known."""
    parts: list[str] = []
    # Unknown before the first page.
    if advance.rate is not None and advance.remaining is not None:
        remaining = timedelta(seconds=round(advance.remaining))
        parts = [f"{advance.rate:,.1f} {unit}/s", f"{remaining} left"]
    if advance.waits:
        parts.append(f"waiting: {advance.waits}")
    return ", ".join(parts)


def _print_unfinished(kind: Kind, unfinished: tuple[Unfinished, ...]) -> None:
    if not unfinished:
        typer.echo(f"no {kind} is unfinished")
        return
    columns = ("model", "receiver", "where", "sent", "begun", "by")
    rows = [
        (
            each.model,
            each.to,
            " and ".join(each.where),
            f"{each.done:,} of {each.total:,} {UNITS[kind]}",
            each.begun,
            each.by,
        )
        for each in unfinished
    ]
    show(columns, rows)
