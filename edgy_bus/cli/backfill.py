"""`edgy-bus backfill`: send rows that exist to a receiver."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Advance, Backfilled, Limits, Order, Plan, Unfinished
from edgy_bus.operations.addressed import Course

_EVERY = 10.0
"""Seconds between two lines of progress, where there is no terminal."""


def order_of(model: str, to: str, where: list[str], *, resume: bool, restart: bool) -> Order:
    """Return the order of a command."""
    course: Course = "resume" if resume else "restart" if restart else "begin"
    return Order(model, to, tuple(where), course)


def limits_of(rate: float, page: int) -> Limits:
    """Return the bounds of a command."""
    return Limits(rate=rate, page=page)


def show_unfinished(target: str, *, as_json: bool) -> None:
    """List the backfills that have begun and not ended."""
    place = Place(target, load_bus(target))
    unfinished = operate(place, operations.unfinished_backfills, databases=True)
    answer(
        "backfill --list",
        {"unfinished": unfinished},
        lambda: _print_unfinished(unfinished),
        as_json=as_json,
        status=Exit.FINDING if unfinished else Exit.FINE,
    )


def run(
    target: str,
    order: Order,
    limits: Limits,
    *,
    dry_run: bool,
    yes: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Show what is going to be sent, ask, and send it, with progress."""
    place = Place(target, load_bus(target))
    # On connections of its own: the operator may take minutes to agree.
    plan = operate(place, lambda parts: operations.plan_backfill(parts, order), databases=True)
    rows = f"{plan.rows - plan.done:,} rows"
    if not plan.rows:
        _answer_without_rows(plan, as_json=as_json)
    if not as_json:
        _print_plan(plan, limits)
    if dry_run:
        would = f"would send {rows} to {plan.to}"
        answer("backfill", plan, lambda: typer.echo(would), as_json=as_json)
        raise typer.Exit
    if not yes:
        # A script that forgot --yes must not wait for an answer.
        if as_json or not sys.stdin.isatty():
            raise ConfigurationError(f"to send {rows} to {plan.to}, add --yes")
        typer.confirm(f"send {rows} to {plan.to}?", abort=True)
    done = _send(place, plan, limits, by)
    answer("backfill", done, lambda: _print_done(done), as_json=as_json)


def _answer_without_rows(plan: Plan, *, as_json: bool) -> None:
    text = f"no row of {plan.model} matches"
    answer(
        "backfill",
        plan,
        lambda: typer.echo(text, err=True),
        as_json=as_json,
        status=Exit.FINDING,
    )


def _send(place: Place, plan: Plan, limits: Limits, by: str | None) -> Backfilled:
    try:
        with _progress(plan) as report:
            return operate(
                place,
                lambda parts: operations.backfill(parts, plan, limits, report, by=by),
                databases=True,
            )
    except KeyboardInterrupt:
        # The transaction under way is taken back, with its progress: nothing is half done.
        command = f"edgy-bus backfill {place.name} {plan.model} --to {plan.to} --resume"
        typer.echo(f"interrupted; continue with: {command}", err=True)
        raise typer.Exit(Exit.FINDING) from None


@contextmanager
def _progress(plan: Plan) -> Iterator[Callable[[Advance], None]]:
    """Show each advance: in a bar on a terminal, else in a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines().report
        return
    # rich is slow to import, and needed on a terminal only.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f}"), BarColumn())
    with Bar(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=plan.rows, completed=plan.done)

        def report(advance: Advance) -> None:
            bar.update(task, completed=advance.done, description=_pace(advance))

        yield report


class _Lines:
    """Print an advance now and then, for a log."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY

    def report(self, advance: Advance) -> None:
        """Print an advance, unless the last line is a moment ago."""
        # A log wants neither a line for each page nor silence.
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            counts = f"{advance.done:,} of {advance.total:,} rows"
            typer.echo("  ".join(filter(None, (counts, _pace(advance)))), err=True)


def _pace(advance: Advance) -> str:
    """Return rate and remaining time, and why nothing is sent, as far as they are known."""
    parts: list[str] = []
    # Unknown before the first page.
    if advance.rate is not None and advance.remaining is not None:
        remaining = timedelta(seconds=round(advance.remaining))
        parts = [f"{advance.rate:,.1f} rows/s", f"{remaining} left"]
    if advance.waits:
        parts.append(f"waiting: {advance.waits}")
    return ", ".join(parts)


# Text


def _print_plan(plan: Plan, limits: Limits) -> None:
    # A receiver without a worker is no mistake: its events wait, and when there are too many, so
    # does the backfill.
    rows = [
        ("rows", f"{plan.rows:,} of {plan.model}"),
        ("where", " and ".join(plan.where) or "all rows"),
        ("receiver", plan.to),
        ("workers", ", ".join(plan.workers) or "no live worker has the receiver: events wait"),
        ("time", f"{timedelta(seconds=round((plan.rows - plan.done) / limits.rate))} at least"),
    ]
    if plan.course == "resume" and plan.unfinished is not None:
        rows.append(("sent", f"{plan.done:,} rows, since {plan.unfinished.begun}"))
    if plan.strangers:
        count = len(plan.strangers)
        rows.append(("waits", f"until {count} more partitions know the receiver"))
    show(("what", "value"), rows)


def _print_done(done: Backfilled) -> None:
    text = f"wrote {done.events:,} events for {done.to}"
    if done.done != done.events:
        text += f", {done.done:,} with those before"
    # Whether they have arrived is what `status` shows.
    typer.echo(f"{text}; relays publish them")


def _print_unfinished(unfinished: tuple[Unfinished, ...]) -> None:
    if not unfinished:
        typer.echo("no backfill is unfinished")
        return
    columns = ("model", "receiver", "where", "sent", "begun", "by")
    rows = [
        (
            each.model,
            each.to,
            " and ".join(each.where),
            f"{each.done:,} of {each.total:,}",
            each.begun,
            each.by,
        )
        for each in unfinished
    ]
    show(columns, rows)
