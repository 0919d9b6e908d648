"""`edgy-bus forget app:bus GROUP`: a group of receivers is gone for good."""

import asyncio
from typing import Annotated

import typer

from edgy_bus.bus import Bus
from edgy_bus.cli.loading import load_bus


def forget(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Where the publishing service's bus is.")
    ],
    group: Annotated[str, typer.Argument(help="The group that no worker runs any more.")],
) -> None:
    """Forget a group of receivers, so that streams no longer wait for it to read them.

    The streams of a service are trimmed when every group that was ever seen on them has read them. A group that was
    renamed or removed has to be forgotten, or they grow. Its dead letters stay.
    """
    count = asyncio.run(_forget(load_bus(target), group))
    typer.echo(
        f"the group {group!r} was removed from {count} models"
        if count
        else f"no model knew the group {group!r}"
    )


async def _forget(bus: Bus, group: str) -> int:
    async with bus:
        return await bus.forget(group)
