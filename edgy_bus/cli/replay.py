"""`edgy-bus replay`: send events that the outbox still has to a receiver again."""

from collections.abc import Iterator

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.moments import in_text
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.sending import carry_out, confirm, least_time
from edgy_bus.cli.tables import show
from edgy_bus.loading import load_bus
from edgy_bus.operations import (
    Advance,
    EventsReplayed,
    Limits,
    ModelReplay,
    ReplayOrder,
    ReplayPlan,
)


def run(
    target: str,
    order: ReplayOrder,
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
    plan = operate(place, lambda parts: operations.plan_replay(parts, order), databases=True)
    # Before the plan: a time before the retention, or a key that is none, is seen at once.
    if not plan.events:
        text = f"no event that the outbox has matches; {_kept(plan)}"
        answer(
            "replay",
            plan,
            lambda: typer.echo(text, err=True),
            as_json=as_json,
            status=Exit.FINDING,
        )
    if not as_json:
        show(("what", "value"), list(_plan(plan, limits)))
    amount = f"{max(0, plan.events - plan.done):,} events to {plan.to} again"
    if dry_run:
        answer("replay", plan, lambda: typer.echo(f"would send {amount}"), as_json=as_json)
        raise typer.Exit
    confirm(amount, yes=yes, as_json=as_json)
    model = "" if order.model is None else f" --model {plan.models[0].model}"
    done = carry_out(
        place,
        lambda parts, report: operations.replay(parts, plan, limits, report, by=by),
        Advance(plan.done, plan.events),
        "events",
        f"edgy-bus replay {place.name} --to {plan.to}{model} --resume",
    )
    answer("replay", done, lambda: _print_done(done), as_json=as_json)


def _plan(plan: ReplayPlan, limits: Limits) -> Iterator[tuple[str, str]]:
    for each in plan.models:
        yield "events", f"{each.events:,} of {each.model}"
    where = [condition for each in plan.models for condition in each.where]
    yield "where", " and ".join(dict.fromkeys(where)) or "all events that the outbox has"
    yield "outbox", _kept(plan)
    receivers = sorted({name for each in plan.models for name in each.recipients})
    yield "receivers", ", ".join(receivers)
    workers = sorted({worker for each in plan.models for worker in each.workers})
    # Without a worker the events wait in their streams, and the replay waits for room there.
    yield "workers", ", ".join(workers) or "no live worker has a receiver: events wait"
    yield "time", least_time(max(0, plan.events - plan.done), limits)
    if plan.ends_older:
        yield "beware", f"older states of rows may come last: {plan.ends_older}"
    if plan.course == "resume":
        yield "sent", f"{plan.done:,} events, since {_begun(plan.models)}"
    if count := sum(len(each.strangers) for each in plan.models):
        yield "waits", f"until {count} more partitions know the receivers"


def _begun(models: tuple[ModelReplay, ...]) -> str:
    return min(each.unfinished.begun for each in models if each.unfinished is not None)


def _kept(plan: ReplayPlan) -> str:
    if plan.kept_since is None:
        return "the outbox has no event"
    return f"the outbox keeps events since {in_text(plan.kept_since)}"


def _print_done(done: EventsReplayed) -> None:
    text = f"wrote {done.events:,} copies for {done.to}"
    if done.done != done.events:
        text += f", {done.done:,} with those before"
    if done.done > done.total:
        text += f", {done.done - done.total:,} of them of events that came meanwhile"
    # Whether they have arrived is what `status` shows.
    typer.echo(f"{text}; relays publish them")
