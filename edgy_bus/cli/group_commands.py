"""The options of `edgy-bus group …`, and the explanation of each command.

As in `commands`, a command imports its work when it runs.
"""

from typing import Annotated

import typer

from edgy_bus.cli.commands import As, Broker, Json, Prefix, Where, Yes, place_of

app = typer.Typer(help="Groups of receivers.", no_args_is_help=True, rich_markup_mode=None)


# A word for each of the verbs: `groups` alone would be a second way to the list.
@app.command("list")
def list_(
    target: Where = None, broker: Broker = None, prefix: Prefix = "edgy", json: Json = False
) -> None:
    """Show the groups, and how many streams each of their workers owns. Reads Redis only."""
    from edgy_bus.cli.status import show_groups

    place, _ = place_of([target], broker, prefix)
    show_groups(place, as_json=json)


@app.command()
def forget(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Where the publishing service's bus is.")
    ],
    group: Annotated[
        str, typer.Argument(metavar="GROUP", help="The group that no worker runs any more.")
    ],
    yes: Yes = False,
    by: As = None,
    json: Json = False,
) -> None:
    """Forget a group of receivers, so that no stream waits for the group any more.

    A stream is trimmed up to the entry that every group of the stream has read. A group that was
    renamed or removed has to be forgotten, or the streams grow. Its dead letters stay.

    Needs Redis and the service's databases, and starts nothing. The exit status is 1 if neither
    knew the group.
    """
    from edgy_bus.cli.group import forget as run

    run(target, group, yes=yes, by=by, as_json=json)
