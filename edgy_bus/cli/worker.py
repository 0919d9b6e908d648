"""`edgy-bus worker app:bus`: a program that runs receivers, in a process or in several."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer

from edgy_bus.bus import Bus
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.running import collect_less, connect, patiently, run, toucher
from edgy_bus.cli.supervisor import supervise
from edgy_bus.settings import WorkerSettings


def worker(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:BUS", help="Where the bus is, for example app:bus.")
    ],
    group: Annotated[
        list[str] | None,
        typer.Option("--group", "-g", help="Run this group only; may be repeated."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-c", min=1, help="Receivers at the same time, in each process."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Processes to run.")
    ] = 1,
    health_file: Annotated[
        Path | None,
        typer.Option(
            help="Touched every few seconds while the worker works; see `edgy-bus health`."
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Run the receivers of a bus until SIGTERM or Ctrl-C; running receivers finish first."""
    bus = load_bus(target)
    settings = (
        bus.working
        if concurrency is None
        else bus.working.model_copy(update={"concurrency": concurrency})
    )
    bus.worker(group, settings)  # a wrong group is refused before any process is started
    if processes == 1:
        run(lambda stopping: _work(bus, group, settings, health_file, stopping), verbose=verbose)
        return
    # Each process imports the program anew: a fork would share connections and event loops.
    command = [sys.executable, "-m", "edgy_bus", "worker", target]
    command += [part for name in group or () for part in ("--group", name)]
    command += ["--concurrency", str(settings.concurrency)] + (["--verbose"] if verbose else [])
    run(
        lambda stopping: supervise(command, processes, settings.grace + 10, health_file, stopping),
        verbose=verbose,
    )


async def _work(
    bus: Bus,
    groups: list[str] | None,
    settings: WorkerSettings,
    health: Path | None,
    stopping: asyncio.Event,
) -> None:
    touch = toucher(health)
    # Databases first and patiently: a worker that starts during an outage must not end.
    async with AsyncExitStack() as stack:
        if not await connect(bus.databases(), stack, stopping, touch):
            return
        # The database may be cut off again while the hooks run and the tables are created.
        if not await patiently(lambda: stack.enter_async_context(bus), stopping, touch):
            return
        # After the start, which imports and makes the objects that stay.
        collect_less()
        running = await stack.enter_async_context(bus.worker(groups, settings, touch))
        signalled = asyncio.create_task(stopping.wait())
        ended = asyncio.create_task(running.wait())
        await asyncio.wait((signalled, ended), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        # Waits for running receivers, and raises the error of a worker that ended early.
        await running.stop()
        await ended
