"""The options of `edgy-bus backfill` and `edgy-bus replay`, and their explanations.

As in `commands`, a command imports its work when it runs.
"""

from typing import Annotated

import typer

from edgy_bus.cli.commands import As, Json, Target, Yes

Model = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="The model, User or accounts.User.")
]
To = Annotated[
    str | None,
    typer.Option(
        metavar="GROUP/RECEIVER",
        help="The only receiver of the events; `edgy-bus receiver list` lists the names.",
    ),
]
RowsWhere = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="FIELD=VALUE",
        help="Only rows like this; lookups as in filter(): created__gte=2026-01-01. May be "
        "repeated.",
    ),
]
Rate = Annotated[float, typer.Option(min=0.1, help="The most events per second.")]
Page = Annotated[
    int, typer.Option(min=1, max=1000, help="The most rows or events of a transaction.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is unfinished.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Drop what is unfinished, and begin anew.")
]
# A view, and no command of its own: hardly any service has several unfinished ones.
List = Annotated[bool, typer.Option("--list", help="List what is unfinished in the service.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, count, and write nothing.")]

# A replay names all choices by options: none of them is needed but the receiver, and a model in the
# place of a receiver would be a surprise.
ToAny = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="GROUP[/RECEIVER]",
        help="The receiver that gets the events again, or all receivers of a group.",
    ),
]
OnlyModel = Annotated[
    str | None,
    typer.Option("--model", help="Events of this model, User or accounts.User; else of all."),
]
Key = Annotated[str | None, typer.Option(help="Events of the row with this key.")]
Signal = Annotated[str | None, typer.Option(help="Events of this signal: post_update.")]
Since = Annotated[
    str | None, typer.Option(help="Written since: 30m, 2h, 7d, or a time in ISO 8601.")
]
Until = Annotated[str | None, typer.Option(help="Written until; as --since.")]


def backfill(
    target: Target,
    model: Model = None,
    to: To = None,
    where: RowsWhere = None,
    rate: Rate = 500.0,
    page: Page = 200,
    resume: Resume = False,
    restart: Restart = False,
    unfinished: List = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    by: As = None,
    json: Json = False,
) -> None:
    """Send the rows of a model that exist to one receiver, in order with live changes.

    Each row comes as post_save, with changes=None and event.backfill=True. Other receivers get
    nothing. The command waits while a relay or the receiver is behind. After Ctrl-C or a crash,
    --resume goes on with the first row that was not sent.

    Needs the service's databases and Redis, and starts nothing: a relay publishes the events. The
    exit status is 1 if no row matches, after Ctrl-C, and for a --list that is not empty.
    """
    from edgy_bus.cli import backfill as work
    from edgy_bus.cli import sending
    from edgy_bus.operations import Limits, Order

    if unfinished:
        sending.show_unfinished(target, "backfill", as_json=json)
        return
    # Optional for --list alone.
    if model is None or to is None:
        raise typer.BadParameter("name the model and its receiver: MODEL --to GROUP/RECEIVER")
    _check_course(resume=resume, restart=restart)
    course = sending.course_of(resume=resume, restart=restart)
    order = Order(model, to, tuple(where or []), course)
    limits = Limits(rate=rate, page=page)
    work.run(target, order, limits, dry_run=dry_run, yes=yes, by=by, as_json=json)


def replay(
    target: Target,
    to: ToAny = None,
    model: OnlyModel = None,
    key: Key = None,
    signal: Signal = None,
    since: Since = None,
    until: Until = None,
    rate: Rate = 500.0,
    page: Page = 200,
    resume: Resume = False,
    restart: Restart = False,
    unfinished: List = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    by: As = None,
    json: Json = False,
) -> None:
    """Send events that the outbox still has to a receiver or a group again.

    Each comes as a copy with event.replay, the id of the original, and with the state that the row
    had then. Other receivers get nothing, and no position moves. Live events that come meanwhile
    come again as well, so that the newest event of each row is the last, unless --until or --signal
    leaves it out. After Ctrl-C or a crash, --resume goes on.

    Needs the service's databases and Redis, and starts nothing: a relay publishes the copies. The
    exit status is 1 if no event matches, after Ctrl-C, and for a --list that is not empty.
    """
    from edgy_bus.cli import replay as work
    from edgy_bus.cli import sending
    from edgy_bus.cli.moments import moment
    from edgy_bus.operations import Limits, ReplayOrder

    if unfinished:
        sending.show_unfinished(target, "replay", as_json=json)
        return
    # Optional for --list alone.
    if to is None:
        raise typer.BadParameter("name the receiver: --to GROUP/RECEIVER, or --to GROUP")
    _check_course(resume=resume, restart=restart)
    course = sending.course_of(resume=resume, restart=restart)
    order = ReplayOrder(to, model, key, signal, moment(since), moment(until), course)
    limits = Limits(rate=rate, page=page)
    work.run(target, order, limits, dry_run=dry_run, yes=yes, by=by, as_json=json)


def _check_course(*, resume: bool, restart: bool) -> None:
    if resume and restart:
        raise typer.BadParameter("write either --resume or --restart")
