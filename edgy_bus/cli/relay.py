"""`edgy-bus relay app:bus`: a program that moves the outbox to the broker."""

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
    """Publish the events of a service's outbox, until SIGTERM or Ctrl-C.

    Any number of relays may run, also beside the relay of the service: a lease lets a single relay
    work at a time.
    """
    bus = load_bus(target)
    bus.relays()  # a bus without an outbox is refused before anything is started
    run(lambda stopping: _relay(bus, health_file, stopping), verbose=verbose)


async def _relay(bus: Bus, health: Path | None, stopping: asyncio.Event) -> None:
    touch = toucher(health)
    async with AsyncExitStack() as stack:
        if not await connect(bus.databases(), stack, stopping, touch):
            return
        # The database may be cut off again while the hooks run and the tables are created.
        if not await patiently(lambda: stack.enter_async_context(bus), stopping, touch):
            return
        relays = [await stack.enter_async_context(relay) for relay in bus.relays()]
        # The error of a relay ends the program, for a restart from outside.
        while not stopping.is_set() and all(relay.running for relay in relays):
            touch()
            await happens(stopping, 2)
