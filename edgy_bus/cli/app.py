"""The application: its commands, and the exit statuses of errors."""

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from edgy_bus import __version__
from edgy_bus.cli import demo, forget, health, held, relay, worker
from edgy_bus.cli.exits import Exit
from edgy_bus.errors import BrokerUnavailable, DatabaseUnavailable, EdgyBusError

app = typer.Typer(
    name="edgy-bus",
    help="Database models whose signals cross process and service boundaries, reliably and in "
    "order.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins the lines of a docstring's paragraph
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, passwords included
)
app.command("worker")(worker.worker)
app.command("relay")(relay.relay)
app.command("forget")(forget.forget)
app.command("held")(held.held)
app.command("release")(held.release)
app.command("demo")(demo.demo)
app.command("health")(health.health)


def _version(is_asked: bool) -> None:
    if is_asked:
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
    """Run a command; `arguments` are those of the process by default.

    An error of this library ends in a message and an exit status, not in a traceback; see `Exit`.
    """
    try:
        app(args=None if arguments is None else list(arguments))
    except (BrokerUnavailable, DatabaseUnavailable) as error:
        _fail(error, Exit.UNREACHABLE)
    except EdgyBusError as error:
        _fail(error, Exit.USAGE)


def _fail(error: EdgyBusError, status: Exit) -> NoReturn:
    # The text may contain brackets and long paths, which are neither markup nor to be wrapped.
    console = Console(stderr=True)
    console.print(f"Error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(status)
