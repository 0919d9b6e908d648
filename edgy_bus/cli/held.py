"""`edgy-bus held app:bus` and `edgy-bus release app:bus …`: rows that receivers hold until somebody decides."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgy_bus.bus import Bus, HeldRow
from edgy_bus.cli.loading import load_bus
from edgy_bus.errors import ConfigurationError

Target = Annotated[str, typer.Argument(metavar="MODULE:BUS", help="Where the receivers' bus is.")]
Group = Annotated[
    str | None, typer.Option("--group", "-g", help="The group; the bus's own if it is not given.")
]


def held(target: Target, group: Group = None) -> None:
    """List the rows that receivers with on_exhausted="hold" hold."""
    rows = asyncio.run(_held(load_bus(target), group))
    if not rows:
        typer.echo("no row is held")
        return
    table = Table("model", "row", "receiver", "why")
    for row in rows:
        table.add_row(
            row.model, row.subject, row.receiver, "released" if row.released else row.reason
        )
    Console().print(table)


def release(
    target: Target,
    model: Annotated[str, typer.Argument(help="The model with its service, accounts.User.")],
    subject: Annotated[str, typer.Argument(metavar="ROW", help="The key of the row.")],
    group: Group = None,
    receiver: Annotated[str | None, typer.Option(help="Only for this receiver.")] = None,
    skip: Annotated[
        bool,
        typer.Option(
            "--skip",
            help="Leave the event out that the receiver gave up; it goes to the dead letters.",
        ),
    ] = False,
) -> None:
    """Let workers handle the parked events of a held row, and then hold it no more."""
    count = asyncio.run(_release(load_bus(target), model, subject, group, receiver, skip))
    if not count:
        raise ConfigurationError(
            f"the row {subject!r} of {model} is not held; `edgy-bus held {target}` lists what is"
        )
    typer.echo(f"released for {count} receivers" if count > 1 else "released")


async def _held(bus: Bus, group: str | None) -> list[HeldRow]:
    async with bus:
        return await bus.held(group)


async def _release(
    bus: Bus, model: str, subject: str, group: str | None, receiver: str | None, skip: bool
) -> int:
    async with bus:
        rows = [
            row
            for row in await bus.held(group)
            if (row.model, row.subject) == (model, subject)
            and receiver in (None, row.receiver)
            and not row.released
        ]
        return sum([await bus.release(row, skip=skip) for row in rows])
