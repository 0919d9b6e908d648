"""The frame of long-running commands: logging, uvloop, and an end in order or at once."""

import asyncio
import gc
import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from typing import Any

from edgy_bus import telemetry
from edgy_bus.cli.watch import LastWords, Watch, watch
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.http import Address, parse, require
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.services import happens, interruptible
from edgy_bus.telemetry import catalogue

# uvloop does not exist on Windows.
if sys.platform == "win32":
    _new_loop = None
else:
    import uvloop

    _new_loop = uvloop.new_event_loop

_OBJECTS = 5_000
"""New objects between two runs of the garbage collector."""

_STARTING = 1.5
"""Seconds to undo a start that a signal interrupts: nothing is in hand yet."""

MARGIN = 5.0
"""Seconds to give leases back and to close connections, after the time for running receivers."""


def served_at(http: str | None) -> Address | None:
    """Return the address of `--http`; None without the option.

    Raises:
        ConfigurationError: for another text, or if the extra is not installed.
    """
    if http is None:
        return None
    address = parse(http)
    # Before the program is imported, which may take long.
    require()
    return address


class Stop:
    """The stop of a program: asked for by a signal, and bounded in time.

    Attributes:
        asked: set when the program is to stop.
    """

    def __init__(self, watch_: Watch) -> None:
        self.asked = asyncio.Event()
        self._watch = watch_

    def may_take(self, seconds: float) -> None:
        """Give the program this long to stop, now that it has started."""
        self._watch.work(seconds)

    def before_leaving(self, last_words: LastWords) -> None:
        """Call `last_words(reason)` in another thread before the process is ended at once."""
        self._watch.before_leaving(last_words)


Main = Callable[[Stop], Coroutine[Any, Any, None]]


def run(main: Main, *, verbose: bool = False) -> None:
    """Run `main(stop)`, which returns soon after `stop.asked` is set.

    The first SIGTERM or Ctrl-C sets the event. A second Ctrl-C, and the end of the time to stop,
    end the process at once, no matter what the event loop does.
    """
    set_up_logging(verbose=verbose)
    # From here on, because connecting may take long and has to be reported as well.
    stop_logging = log_telemetry()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(_until_signalled(main))
    finally:
        stop_logging()


def set_up_logging(*, verbose: bool) -> None:
    """Log to standard error, unless the application has set up logging itself."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("edgy_bus").setLevel(logging.DEBUG if verbose else logging.INFO)
    for library in ("databases", "watchfiles"):
        logging.getLogger(library).setLevel(logging.WARNING)


def collect_less() -> None:
    """Let the garbage collector run less often than by default.

    The modules of a program stay until its end. An event makes some twenty objects, and hardly any
    is part of a cycle: a run after every 700 objects, the default, frees next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])


async def _until_signalled(main: Main) -> None:
    watching = watch()
    stop = Stop(watching)
    loop = asyncio.get_running_loop()

    def ask() -> None:
        # Closed: the program has ended by itself meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.asked.set)

    watching.before_leaving(_report_cut_off)
    watching.attach(ask, _STARTING)
    try:
        await main(stop)
    finally:
        # A receiver may have left a thread, for which the interpreter waits without a limit.
        watching.end(MARGIN)


def _report_cut_off(reason: str) -> None:
    telemetry.emit(catalogue.ProgramCutOff(reason=reason, stands=_where_the_program_stands()))


def _where_the_program_stands() -> str:
    """Return where the main thread is; a receiver that blocks the event loop is named so."""
    # Read from another thread: the main thread may stand inside of a driver.
    identity = threading.main_thread().ident
    frame = None if identity is None else sys._current_frames().get(identity)
    if frame is None:
        return ""
    last = traceback.extract_stack(frame)[-1]
    return f"{last.filename}:{last.lineno} in {last.name}"


async def connect(
    databases: Iterable[Database], stack: AsyncExitStack, stop: Stop, alive: Callable[[], None]
) -> bool:
    """Connect databases for as long as the stack is open, and wait for those that do not answer.

    Returns:
        False if the program was stopped meanwhile.
    """
    for database in databases:
        if not await patiently(database.connect, stop, alive):
            return False
        stack.push_async_callback(database.disconnect)
    return True


async def patiently(
    start: Callable[[], Awaitable[object]], stop: Stop, alive: Callable[[], None]
) -> bool:
    """Call `start` until no database is unreachable any more, and report an outage once.

    A stop cancels the call: a database that hangs, or a hook, keeps no program from its end.

    Returns:
        False if the program was stopped meanwhile.
    """
    pause, is_reported = 0.2, False
    while not stop.asked.is_set():
        alive()
        try:
            if not await interruptible(start(), stop.asked):
                return False
        except DatabaseUnavailable as error:
            if not is_reported:
                telemetry.emit(catalogue.DatabaseUnavailable(part="start", error=str(error)))
            is_reported = True
        else:
            if is_reported:
                telemetry.emit(catalogue.DatabaseAvailable(part="start"))
            return True
        await happens(stop.asked, pause)
        pause = min(5.0, pause * 2)
    return False
