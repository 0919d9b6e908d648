"""The application: its commands, and the exit statuses of errors."""

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from edgy_bus import __version__
from edgy_bus.cli import (
    commands,
    dashboard_command,
    dead_commands,
    group_commands,
    receiver_commands,
    schema_commands,
    sending_commands,
)
from edgy_bus.cli.exits import Exit
from edgy_bus.errors import BrokerUnavailable, DatabaseUnavailable, EdgyBusError

app = typer.Typer(
    name="edgy-bus",
    help="Database models whose signals cross process and service boundaries, reliably and in "
    "order.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich costs as much CPU as the rest of `--help`
    pretty_exceptions_enable=False,  # its tracebacks show local variables, passwords included
)
app.command("worker")(commands.worker)
app.command("relay")(commands.relay)
app.command("status")(commands.status)
app.command("top")(commands.top)
app.command("streams")(commands.streams)
app.command("doctor")(commands.doctor)
app.command("config")(commands.config)
app.command("trace")(commands.trace)
app.command("tail")(commands.tail)
app.command("pause")(commands.pause)
app.command("resume")(commands.resume)
app.command("held")(commands.held)
app.command("release")(commands.release)
app.add_typer(dead_commands.app, name="dead")
app.command("backfill")(sending_commands.backfill)
app.command("replay")(sending_commands.replay)
app.add_typer(receiver_commands.app, name="receiver")
app.add_typer(group_commands.app, name="group")
app.add_typer(schema_commands.app, name="schema")
app.command("actions")(commands.actions)
app.command("dashboard")(dashboard_command.dashboard)
app.command("demo")(commands.demo)
# `edgy_bus.cli.main` answers probes itself; here the words are passed on as they are.
app.command(
    "health",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)(commands.health)


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"edgy-bus {__version__}")
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


def run(words: Sequence[str]) -> None:
    """Run the command that `words` begin with; errors of this library become exit statuses."""
    try:
        app(args=list(words))
    except (BrokerUnavailable, DatabaseUnavailable) as error:
        _fail(words, error, Exit.UNREACHABLE)
    except EdgyBusError as error:
        _fail(words, error, Exit.USAGE)


def _fail(words: Sequence[str], error: EdgyBusError, status: Exit) -> NoReturn:
    if "--json" in words:
        from edgy_bus.cli.output import envelope_of_error

        typer.echo(envelope_of_error(words[0], error, status))
    typer.secho(f"Error: {error}", fg="red", err=True)
    sys.exit(status)
