"""`edgy-bus demo`: two services, a crash, and an account of every event."""

from typing import Annotated

import typer
from rich.console import Console

from edgy_bus.cli.exits import Exit


def demo(
    fast: Annotated[bool, typer.Option("--fast", help="A tenth of the users.")] = False,
    users: Annotated[int | None, typer.Option(min=25, help="How many users.")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="A database URL (sqlite:///file or postgresql://…); SQLite files in a temporary "
            "folder by default."
        ),
    ] = None,
) -> None:
    """Run two services against each other, kill a worker half-way, and account for every event.

    Uses the Redis of EDGY_BUS_REDIS_URL, a Redis on localhost:6379, a server on the PATH, or the
    server of the `embedded` extra. The exit status is 1 if any event was lost, handled twice or out
    of order.
    """
    # Imported here: the demo starts servers, for which other commands have no use.
    from edgy_bus.demo.run import USERS, USERS_FAST, run

    count = users if users is not None else USERS_FAST if fast else USERS
    if not run(Console(), users=count, database=database):
        raise typer.Exit(Exit.FINDING)
