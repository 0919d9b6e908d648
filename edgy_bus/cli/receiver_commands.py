"""The options of `edgy-bus receiver …`, and the explanation of each command.

As in `commands`, a command imports its work when it runs.
"""

from typing import Annotated

import typer

from edgy_bus.cli.commands import As, Broker, Group, Json, Prefix, Where, place_of

app = typer.Typer(
    help="The receivers of groups, with or without a program.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(
    target: Where = None,
    group: Group = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """List the receivers of a group, and how many live workers have each.

    Reads Redis only. The exit status is 1 if the group has a receiver that no live worker has.
    """
    from edgy_bus.cli.receivers import show_receivers

    place, _ = place_of([target], broker, prefix)
    show_receivers(place, group, as_json=json)


@app.command("forget")
def forget(
    target: Where = None,
    receiver: Annotated[
        str | None, typer.Argument(metavar="RECEIVER", help="The receiver that is gone.")
    ] = None,
    group: Group = None,
    by: As = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Forget a receiver that was renamed or removed, so that nothing waits for the receiver.

    Its dead letters and held rows stay. A program that has the receiver makes it known again, as a
    new receiver. Needs Redis only.
    """
    place, words = place_of([target, receiver], broker, prefix)
    # Without MODULE:BUS, the first word is the receiver.
    if len(words) != 1:
        raise typer.BadParameter("name the receiver; `edgy-bus receiver list` lists all")
    from edgy_bus.cli.receivers import forget_receiver

    forget_receiver(place, group, words[0], by=by, as_json=json)


@app.command("rename")
def rename(
    target: Where = None,
    receiver: Annotated[
        str | None, typer.Argument(metavar="RECEIVER", help="The name that the group knows.")
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The name in programs that start later.")
    ] = None,
    group: Group = None,
    by: As = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Let a renamed function go on as the receiver that it was.

    Rename the receiver before its new program starts. Running workers, and older releases that
    start again, keep the first name, under which the group keeps progress, letters and metrics.
    With RECEIVER as NAME, the other names are taken back. Needs Redis only.
    """
    place, words = place_of([target, receiver, name], broker, prefix)
    # Without MODULE:BUS, the first word is the receiver.
    if len(words) != 2:
        raise typer.BadParameter("name the receiver, and its other name")
    from edgy_bus.cli.receivers import rename_receiver

    rename_receiver(place, group, (words[0], words[1]), by=by, as_json=json)
