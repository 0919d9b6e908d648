"""What every long-running command does: log, run on uvloop, stop on SIGTERM, SIGINT, or when it is an orphan."""

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

if sys.platform == "win32":
    _new_loop = None
else:
    import uvloop

    _new_loop = uvloop.new_event_loop

_OBJECTS = 5_000
"""New ones after which the collector looks at them."""

HEALTH_AGE = 30.0
"""Seconds after which a health file that was not touched means that something hangs."""


def run(
    main: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, verbose: bool = False
) -> None:
    """Run `main(stopping)`; the event is set by SIGTERM or SIGINT, and a second SIGINT interrupts."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("edgy_bus").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("databases").setLevel(logging.WARNING)
    stop_logging = log_telemetry()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_signalled(main))
    finally:
        stop_logging()


def collect_less() -> None:
    """Tell Python's garbage collector what a worker is like: what the program consists of stays, and of the objects of an event, some
    twenty, hardly any is part of a cycle, so that looking after every 700 of them finds next to nothing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


async def _until_signalled(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked, stopping, number, asyncio.current_task())
    if os.environ.get(FOLLOW_STDIN):
        loop.add_reader(sys.stdin.fileno(), _heard, stopping)
    await main(stopping)


def _asked(stopping: asyncio.Event, number: int, task: "asyncio.Task[None] | None") -> None:
    if stopping.is_set() and number == signal.SIGINT and task is not None:
        task.cancel()
    stopping.set()


def _heard(stopping: asyncio.Event) -> None:
    """Whoever started us never writes: there is something to read when the pipe has no other end any more."""
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopping.set()


async def connect(
    databases: Iterable[Database],
    stack: AsyncExitStack,
    stopping: asyncio.Event,
    touch: Callable[[], None],
) -> bool:
    """Connect these databases for as long as the stack is open, waiting for those that do not answer; False if stopped."""
    for database in databases:
        if not await patiently(database.connect, stopping, touch):
            return False
        stack.push_async_callback(database.disconnect)
    return True


async def patiently(
    start: Callable[[], Awaitable[object]], stopping: asyncio.Event, touch: Callable[[], None]
) -> bool:
    """Try it again for as long as a database cannot be reached; False if stopped meanwhile."""
    pause, told = 0.2, False
    while not stopping.is_set():
        touch()
        try:
            await start()
        except DatabaseUnavailable as error:
            if not told:
                telemetry.emit(catalogue.DatabaseUnavailable(part="start", error=str(error)))
            told = True
        else:
            if told:
                telemetry.emit(catalogue.DatabaseAvailable(part="start"))
            return True
        await happens(stopping, pause)
        pause = min(5.0, pause * 2)
    return False


def toucher(path: Path | None) -> Callable[[], None]:
    """A function that touches the health file, if there is one."""
    return path.touch if path is not None else lambda: None
