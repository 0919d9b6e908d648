"""`edgy-bus health FILE`: the answer of a worker or relay to a probe."""

import time
from pathlib import Path
from typing import Annotated

import typer

from edgy_bus.cli.exits import Exit
from edgy_bus.cli.running import HEALTH_AGE


def health(
    file: Annotated[Path, typer.Argument(help="The --health-file of a worker or relay.")],
    max_age: Annotated[
        float, typer.Option(help="Seconds since the last touch of the file.", min=0)
    ] = HEALTH_AGE,
) -> None:
    """Exit with status 0 if the file was touched lately, with 1 if not."""
    try:
        age = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        typer.echo(
            f"{file} is not there: the worker or relay has not started yet, or writes another file",
            err=True,
        )
        raise typer.Exit(Exit.FINDING) from None
    # A program that hangs touches nothing, though its process is alive.
    if age > max_age:
        typer.echo(f"{file} was touched {age:.0f} s ago, more than {max_age:g}", err=True)
        raise typer.Exit(Exit.FINDING)
