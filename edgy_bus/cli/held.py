"""`edgy-bus held` and `edgy-bus release`: rows that receivers hold until an operator decides."""

from typing import Annotated

import typer

from edgy_bus import operations
from edgy_bus.bus import Bus
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.operating import operate
from edgy_bus.cli.tables import show
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Held, HeldRow, Parts, Released

Target = Annotated[str, typer.Argument(metavar="MODULE:BUS", help="Where the receivers' bus is.")]
Group = Annotated[
    str | None, typer.Option("--group", "-g", help="The group; by default that of the bus.")
]


def held(target: Target, group: Group = None) -> None:
    """List the rows that receivers with on_exhausted="hold" hold.

    Reads Redis only: no database is needed, and nothing is started or changed.
    """
    bus = load_bus(target)
    view = operate(bus, lambda parts: _held(parts, bus, group))
    if not view.rows:
        typer.echo("no row is held")
        return
    show(("model", "row", "receiver", "why"), [_cells(row) for row in view.rows])


def release(
    target: Target,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model with its service, accounts.User."),
    ],
    subject: Annotated[str, typer.Argument(metavar="ROW", help="The key of the row.")],
    group: Group = None,
    receiver: Annotated[str | None, typer.Option(help="Only for this receiver.")] = None,
    skip: Annotated[
        bool,
        typer.Option(
            "--skip",
            help="Move the event that the receiver gave up to the dead letters first.",
        ),
    ] = False,
) -> None:
    """Let workers handle the parked events of a held row, in order, and end the holding.

    Needs Redis only, and starts nothing: a worker of the group handles the events. The exit status
    is 1 if the row is not held, or was released before.
    """
    bus = load_bus(target)

    async def action(parts: Parts) -> tuple[Held, Released]:
        view = await _held(parts, bus, group)
        view = view.select(model=model, subject=subject, receiver=receiver)
        return view, await operations.release(parts.broker, view.rows, skip=skip)

    # An operator who repeats a command has to learn that the first call had its effect.
    view, released = operate(bus, action)
    if not released.rows:
        typer.echo(_why_not(view, model, subject, target), err=True)
        raise typer.Exit(Exit.FINDING)
    receivers = ", ".join(row.receiver for row in released.rows)
    fate = "; the event that was given up is in the dead letters" if skip else ""
    typer.echo(f"released the row {subject!r} of {model} for {receivers}{fate}")


async def _held(parts: Parts, bus: Bus, group: str | None) -> Held:
    """Return the held rows, and refuse a misspelt group, which would look like a group at rest."""
    view = await operations.held(parts.broker, group or bus.group)
    # The group of the bus itself may have read nothing yet: its program is new, not misspelt.
    if group is not None and not view.rows:
        present = await operations.group_names(parts.broker)
        if group not in present:
            listed = ", ".join(present) or "none"
            raise ConfigurationError(
                f"no group {group!r} has read a stream; the groups are: {listed}"
            )
    return view


def _cells(row: HeldRow) -> tuple[str, str, str, str]:
    reason = "released: a worker handles its parked events" if row.released else row.reason
    return row.model, row.subject, row.receiver, reason


def _why_not(view: Held, model: str, subject: str, target: str) -> str:
    if view.rows:
        return (
            f"the row {subject!r} of {model} was released before: "
            f"a worker of the group {view.group!r} handles its parked events"
        )
    return (
        f"the row {subject!r} of {model} is not held in the group {view.group!r}; "
        f"`edgy-bus held {target}` lists the rows that are"
    )
