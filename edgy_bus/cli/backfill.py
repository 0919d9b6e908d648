"""`edgy-bus backfill`: send rows that exist to a receiver."""

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.sending import carry_out, confirm, least_time
from edgy_bus.cli.tables import show
from edgy_bus.loading import load_bus
from edgy_bus.operations import Advance, Backfilled, Limits, Order, Plan


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
    amount = f"{plan.rows - plan.done:,} rows to {plan.to}"
    if not plan.rows:
        _answer_without_rows(plan, as_json=as_json)
    if not as_json:
        _print_plan(plan, limits)
    if dry_run:
        answer("backfill", plan, lambda: typer.echo(f"would send {amount}"), as_json=as_json)
        raise typer.Exit
    confirm(amount, yes=yes, as_json=as_json)
    done = carry_out(
        place,
        lambda parts, report: operations.backfill(parts, plan, limits, report, by=by),
        Advance(plan.done, plan.rows),
        "rows",
        f"edgy-bus backfill {place.name} {plan.model} --to {plan.to} --resume",
    )
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


def _print_plan(plan: Plan, limits: Limits) -> None:
    # A receiver without a worker is no mistake: its events wait, and when there are too many, so
    # does the backfill.
    rows = [
        ("rows", f"{plan.rows:,} of {plan.model}"),
        ("where", " and ".join(plan.where) or "all rows"),
        ("receiver", plan.to),
        ("workers", ", ".join(plan.workers) or "no live worker has the receiver: events wait"),
        ("time", least_time(plan.rows - plan.done, limits)),
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
