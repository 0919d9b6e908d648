"""`edgy-bus relay app:bus`: move the outbox to the broker, as a program of its own."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from edgy_bus.bus import Bus
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.running import connect, patiently, run, toucher
from edgy_bus.services import happens


def relay(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Where the bus is, for example app:bus.")
    ],
    health_file: Annotated[
        Path | None,
        typer.Option(
            help="Touched every few seconds while the relay works; see `edgy-bus health`."
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Publish what a service's operations wrote to its outbox, until SIGTERM or Ctrl-C.

    Any number may run beside each other and beside the service's own: a lease makes one of them work at a time.
    """
    bus = load_bus(target)
    bus.relays()  # says at once what is wrong
    run(lambda stopping: _relay(bus, health_file, stopping), verbose=verbose)


async def _relay(bus: Bus, health: Path | None, stopping: asyncio.Event) -> None:
    touch = toucher(health)
    async with AsyncExitStack() as stack:
        if not await connect(bus.databases(), stack, stopping, touch):
            return
        # It may be cut off again before the hooks have run and the tables are there.
        if not await patiently(lambda: stack.enter_async_context(bus), stopping, touch):
            return
        relays = [await stack.enter_async_context(one) for one in bus.relays()]
        while not stopping.is_set() and all(one.running for one in relays):
            touch()
            await happens(stopping, 2)
