"""`edgy-bus worker app:bus`: a program that runs receivers, in a process or in several."""

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgy_bus.bus import Bus
from edgy_bus.cli.life import Life
from edgy_bus.cli.metrics_file import ChildMetrics, MetricsFile
from edgy_bus.cli.reloading import changes_below, reload
from edgy_bus.cli.running import (
    MARGIN,
    Stop,
    collect_less,
    connect,
    patiently,
    run,
    served_at,
)
from edgy_bus.cli.supervisor import Command, supervise
from edgy_bus.environment import METRICS_FILE
from edgy_bus.errors import ConfigurationError
from edgy_bus.health import HEALTH_AGE
from edgy_bus.http import Address, ServiceView, show
from edgy_bus.loading import load_bus
from edgy_bus.runtime.worker import Worker
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
    http: str | None
    verbose: bool
    reload: bool = False

    def command(self) -> list[str]:
        """Return the command of one of several processes, without what each has for itself."""
        words = [sys.executable, "-m", "edgy_bus", "worker", self.target]
        words += [word for group in self.groups or () for word in ("--group", group)]
        words += [word for module in self.modules for word in ("--import", module)]
        if self.concurrency is not None:
            words += ["--concurrency", str(self.concurrency)]
        return [*words, *(["--verbose"] if self.verbose else [])]


def work(call: WorkerCall) -> None:
    """Run the receivers of a bus until the program is stopped.

    Raises:
        ConfigurationError: for options that exclude each other, a wrong address, or a bus or a
            group that does not exist.
    """
    address = served_at(call.http)
    if call.reload:
        _reload(call)
        return
    bus = load_bus(call.target)
    bus.view = ServiceView(None)  # the service has that address
    bus.import_receivers(*call.modules)
    settings = (
        bus.working
        if call.concurrency is None
        else bus.working.model_copy(update={"concurrency": call.concurrency})
    )
    bus.worker(call.groups, settings)  # a wrong group is refused before any process is started
    if call.processes == 1:
        process = _Work(bus, call.groups, settings, Life(call.health_file), address)
        run(process.run, verbose=call.verbose)
        return
    # Each process imports the program anew: a fork would share connections and event loops.
    command = Command(
        call.command(),
        call.processes,
        settings.grace + 2 * MARGIN,
        # A process whose event loop is blocked ends by itself before, and names the line.
        settings.max_blocked + HEALTH_AGE,
    )
    run(lambda stop: _supervise(bus, call, command, address, stop), verbose=call.verbose)


def _reload(call: WorkerCall) -> None:
    if call.processes > 1:
        raise ConfigurationError("--reload runs one process: leave --processes out")
    # Nothing is imported here: a mistake in the program must not end the watch over its files.
    words = call.command()
    words += ["--health-file", str(call.health_file)] if call.health_file else []
    words += ["--http", call.http] if call.http else []
    changes = changes_below(Path.cwd())
    run(lambda stop: reload(words, changes, stop), verbose=call.verbose)


async def _supervise(
    bus: Bus, call: WorkerCall, command: Command, address: Address | None, stop: Stop
) -> None:
    async with AsyncExitStack() as stack:
        # Where processes leave their metrics, and their health unless the operator wants to see it.
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="edgy-bus-")))
        life = Life(call.health_file or folder / "health")
        if address is None:
            await supervise(command, life, stop)
            return
        metrics = ChildMetrics(folder, call.processes)
        showing = await show(address, life.pulse, stack)
        showing.children = metrics.series
        showing.attach(await stack.enter_async_context(bus.operating()), stack)
        await supervise(command, life, stop, metrics)


@dataclass(frozen=True, slots=True)
class _Work:
    """A process that runs receivers."""

    bus: Bus
    groups: list[str] | None
    settings: WorkerSettings
    life: Life
    address: Address | None

    async def run(self, stop: Stop) -> None:
        """Run the receivers until the program is stopped."""
        bus, life = self.bus, self.life
        async with AsyncExitStack() as stack:
            showing = metrics = None
            if self.address is not None:
                showing = await show(self.address, life.pulse, stack)
            if file := os.environ.get(METRICS_FILE):
                metrics = await stack.enter_async_context(MetricsFile(Path(file)))
            # Databases first and patiently: a worker that starts during an outage must not end.
            if not await connect(bus.databases(), stack, stop, life.progress):
                return
            # The database may be cut off again while the hooks run and the tables are created.
            if not await patiently(lambda: stack.enter_async_context(bus), stop, life.progress):
                return
            # After the start, which imports and makes the objects that stay.
            collect_less()
            running = bus.worker(
                self.groups, self.settings, lambda: life.progress(is_ready=running.ready)
            )
            # The bus runs: its connections are those of the worker.
            if showing is not None:
                showing.states = running.states
                showing.attach(await stack.enter_async_context(bus.operating()), stack)
            if metrics is not None:
                metrics.states = running.states
            await stack.enter_async_context(running)
            stop.may_take(self.settings.grace + MARGIN)
            await _until_ended(running, stop)


async def _until_ended(running: Worker, stop: Stop) -> None:
    """Wait for the signal, and then for running receivers; or for a worker that ends early."""
    signalled = asyncio.create_task(stop.asked.wait())
    ended = asyncio.create_task(running.wait())
    await asyncio.wait((signalled, ended), return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    # Waits for running receivers, and raises the error of a worker that ended early.
    await running.stop()
    await ended
