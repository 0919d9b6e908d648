"""The application: its commands, and what becomes of errors that are the user's to mend."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from edgy_bus import __version__
from edgy_bus.cli import demo, forget, health, held, relay, worker
from edgy_bus.errors import EdgyBusError

app = typer.Typer(
    name="edgy-bus",
    help="Database models whose signals cross process and service boundaries, reliably and in order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("worker")(worker.worker)
app.command("relay")(relay.relay)
app.command("forget")(forget.forget)
app.command("held")(held.held)
app.command("release")(held.release)
app.command("demo")(demo.demo)
app.command("health")(health.health)


def _version(wanted: bool) -> None:
    if wanted:
        Console().print(f"edgy-bus {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; `arguments` are those of the command line if not given.

    An error of ours is one message and exit status 2, not a traceback.
    """
    try:
        app(args=None if arguments is None else list(arguments))
    except EdgyBusError as error:
        Console(stderr=True).print(
            f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
        sys.exit(2)
