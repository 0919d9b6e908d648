"""`edgy-bus forget`: the end of a group of receivers."""

from typing import Annotated

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.operating import operate


def forget(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Where the publishing service's bus is.")
    ],
    group: Annotated[
        str, typer.Argument(metavar="GROUP", help="The group that no worker runs any more.")
    ],
) -> None:
    """Forget a group of receivers, so that no stream waits for the group any more.

    A stream is trimmed up to the entry that every group of the stream has read. A group that was
    renamed or removed has to be forgotten, or the streams grow. Its dead letters stay.

    Needs Redis and the service's databases, and starts nothing. The exit status is 1 if neither
    knew the group.
    """
    bus = load_bus(target)
    bus.relays()  # a bus without an outbox publishes nothing, and has no group to forget
    forgotten = operate(bus, lambda parts: operations.forget(parts, group), databases=True)
    if not forgotten.models:
        typer.echo(f"no model of {bus.service} knew the group {group!r}", err=True)
        raise typer.Exit(Exit.FINDING)
    typer.echo(f"the group {group!r} was removed from {', '.join(forgotten.models)}")
