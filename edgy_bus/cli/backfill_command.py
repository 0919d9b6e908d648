"""The options of `edgy-bus backfill`, and its explanation.

As in `commands`, the command imports its work when it runs.
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
    int, typer.Option(min=1, max=1000, help="The most rows that are locked at a time.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the unfinished backfill.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Drop the unfinished backfill, and begin anew.")
]
# A view, and no command of its own: hardly any service has several unfinished backfills.
List = Annotated[bool, typer.Option("--list", help="List the unfinished backfills of the service.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, count the rows, write nothing.")]


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

    if unfinished:
        work.show_unfinished(target, as_json=json)
        return
    # Optional for --list alone.
    if model is None or to is None:
        raise typer.BadParameter("name the model and its receiver: MODEL --to GROUP/RECEIVER")
    if resume and restart:
        raise typer.BadParameter("write either --resume or --restart")
    order = work.order_of(model, to, where or [], resume=resume, restart=restart)
    limits = work.limits_of(rate, page)
    work.run(target, order, limits, dry_run=dry_run, yes=yes, by=by, as_json=json)
