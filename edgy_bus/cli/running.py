"""The frame of long-running commands: logging, uvloop, a stop by SIGTERM, SIGINT or orphaning."""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.services import happens
from edgy_bus.settings import FOLLOW_STDIN
from edgy_bus.telemetry import catalogue

# uvloop does not exist on Windows.
if sys.platform == "win32":
    _new_loop = None
else:
    import uvloop

    _new_loop = uvloop.new_event_loop

_OBJECTS = 5_000
"""New objects between two runs of the garbage collector."""

HEALTH_AGE = 30.0
"""Seconds without a touch of the health file after which a program counts as hanging."""

Main = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def run(main: Main, *, verbose: bool = False) -> None:
    """Run `main(stopping)`; SIGTERM or SIGINT sets the event, and a second SIGINT interrupts."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("edgy_bus").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("databases").setLevel(logging.WARNING)
    # From here on, because connecting may take long and has to be reported as well.
    stop_logging = log_telemetry()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_signalled(main))
    finally:
        stop_logging()


def collect_less() -> None:
    """Let the garbage collector run less often than by default.

    The modules of a program stay until its end. An event makes some twenty objects, and hardly any
    is part of a cycle: a run after every 700 objects, the default, frees next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


async def _until_signalled(main: Main) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stopping, number, asyncio.current_task())
    # A supervisor that is killed cannot stop its processes, but its end of the pipe closes.
    if os.environ.get(FOLLOW_STDIN):
        loop.add_reader(sys.stdin.fileno(), _on_input, stopping)
    await main(stopping)


def _on_signal(stopping: asyncio.Event, number: int, task: "asyncio.Task[None] | None") -> None:
    # The first signal lets receivers finish; a second Ctrl-C means "at once".
    if stopping.is_set() and number == signal.SIGINT and task is not None:
        task.cancel()
    stopping.set()


def _on_input(stopping: asyncio.Event) -> None:
    """Stop when the parent process has died.

    The parent never writes to the pipe, so only the parent's death makes the pipe readable.
    """
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopping.set()


async def connect(
    databases: Iterable[Database],
    stack: AsyncExitStack,
    stopping: asyncio.Event,
    touch: Callable[[], None],
) -> bool:
    """Connect databases for as long as the stack is open, and wait for those that do not answer.

    Returns:
        False if the program was stopped meanwhile.
    """
    for database in databases:
        if not await patiently(database.connect, stopping, touch):
            return False
        stack.push_async_callback(database.disconnect)
    return True


async def patiently(
    start: Callable[[], Awaitable[object]], stopping: asyncio.Event, touch: Callable[[], None]
) -> bool:
    """Call `start` until no database is unreachable any more, and report an outage once.

    Returns:
        False if the program was stopped meanwhile.
    """
    pause, is_reported = 0.2, False
    while not stopping.is_set():
        touch()
        try:
            await start()
        except DatabaseUnavailable as error:
            if not is_reported:
                telemetry.emit(catalogue.DatabaseUnavailable(part="start", error=str(error)))
            is_reported = True
        else:
            if is_reported:
                telemetry.emit(catalogue.DatabaseAvailable(part="start"))
            return True
        await happens(stopping, pause)
        pause = min(5.0, pause * 2)
    return False


def toucher(path: Path | None) -> Callable[[], None]:
    """Return a function that touches the health file, or does nothing without a file."""
    return path.touch if path is not None else lambda: None
