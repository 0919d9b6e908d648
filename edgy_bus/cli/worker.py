"""`edgy-bus worker app:bus`: a program that runs receivers, in a process or in several."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from edgy_bus.bus import Bus
from edgy_bus.cli.life import Life
from edgy_bus.cli.loading import load_bus
from edgy_bus.cli.running import MARGIN, Stop, collect_less, connect, patiently, run
from edgy_bus.cli.supervisor import supervise
from edgy_bus.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCall:
    """The options of `edgy-bus worker`."""

    target: str
    groups: list[str] | None
    modules: list[str]
    concurrency: int | None
    processes: int
    health_file: Path | None
    verbose: bool

    def command(self) -> list[str]:
        """Return the command of one of several processes, without its health file."""
        words = [sys.executable, "-m", "edgy_bus", "worker", self.target]
        words += [word for group in self.groups or () for word in ("--group", group)]
        words += [word for module in self.modules for word in ("--import", module)]
        if self.concurrency is not None:
            words += ["--concurrency", str(self.concurrency)]
        return [*words, *(["--verbose"] if self.verbose else [])]


def work(call: WorkerCall) -> None:
    """Run the receivers of a bus until the program is stopped."""
    bus = load_bus(call.target)
    bus.import_receivers(*call.modules)
    settings = (
        bus.working
        if call.concurrency is None
        else bus.working.model_copy(update={"concurrency": call.concurrency})
    )
    bus.worker(call.groups, settings)  # a wrong group is refused before any process is started
    if call.processes == 1:
        life = Life(call.health_file)
        run(lambda stop: _work(bus, call.groups, settings, life, stop), verbose=call.verbose)
        return
    # Each process imports the program anew: a fork would share connections and event loops.
    command, grace = call.command(), settings.grace + 2 * MARGIN
    run(
        lambda stop: supervise(command, call.processes, grace, call.health_file, stop),
        verbose=call.verbose,
    )


async def _work(
    bus: Bus, groups: list[str] | None, settings: WorkerSettings, life: Life, stop: Stop
) -> None:
    # Databases first and patiently: a worker that starts during an outage must not end.
    async with AsyncExitStack() as stack:
        if not await connect(bus.databases(), stack, stop, life.progress):
            return
        # The database may be cut off again while the hooks run and the tables are created.
        if not await patiently(lambda: stack.enter_async_context(bus), stop, life.progress):
            return
        # After the start, which imports and makes the objects that stay.
        collect_less()
        running = bus.worker(groups, settings, lambda: life.progress(is_ready=running.ready))
        await stack.enter_async_context(running)
        stop.may_take(settings.grace + MARGIN)
        signalled = asyncio.create_task(stop.asked.wait())
        ended = asyncio.create_task(running.wait())
        await asyncio.wait((signalled, ended), return_when=asyncio.FIRST_COMPLETED)
        signalled.cancel()
        # Waits for running receivers, and raises the error of a worker that ended early.
        await running.stop()
        await ended
