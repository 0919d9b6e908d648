"""The answer of an operator's command: as text for people, or in a JSON envelope for programs."""

from collections.abc import Callable

import typer

from edgy_bus.cli.exits import Exit
from edgy_bus.codec import dumps

FORMAT = 1
"""The version of the envelope. Fields are added without another version; nothing is renamed."""


def answer(
    command: str,
    data: object,
    show: Callable[[], None],
    *,
    as_json: bool,
    status: Exit = Exit.FINE,
) -> None:
    """Print the answer of a command; end the command with `status`.

    Args:
        command: the words that name the command.
        data: the answer for programs: dataclasses, mappings and sequences.
        show: prints the answer for people.
        as_json: whether a program asked.
        status: the exit status, which the envelope contains too.
    """
    # Also a finding is an answer: a program reads the envelope, whatever the status.
    if as_json:
        typer.echo(envelope(command, data, status))
    else:
        show()
    if status is not Exit.FINE:
        raise typer.Exit(status)


def envelope(command: str, data: object, status: Exit) -> bytes:
    """Return the answer of a command for programs."""
    return dumps({"format": FORMAT, "command": command, "exit": status, "data": data})


def envelope_of_error(command: str, error: Exception, status: Exit) -> bytes:
    """Return the envelope of a command that failed."""
    text = str(error)
    return dumps({"format": FORMAT, "command": command, "exit": status, "error": text})
