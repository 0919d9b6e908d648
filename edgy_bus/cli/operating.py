"""Runs an operation for a command: with its connections, and with nothing else of a bus."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import typer

from edgy_bus import telemetry
from edgy_bus.cli.place import Place
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.operations import Parts
from edgy_bus.operations.parts import outbox_name
from edgy_bus.telemetry import Notice
from edgy_bus.telemetry.catalogue import ActionUnrecorded
from edgy_bus.wiring import Connections, make_broker

T = TypeVar("T")


def operate(
    place: Place, operation: Callable[[Parts], Awaitable[T]], *, databases: bool = False
) -> T:
    """Return the result of an operation, whose connections are closed by then.

    Args:
        place: the bus or the broker that the command names. The bus is not started.
        operation: takes the parts of the bus, or of a broker alone.
        databases: whether the operation needs the publishers' databases, if there is a bus.
    """

    async def run() -> T:
        # Nothing else of a bus runs here, which would log its notices.
        stop = telemetry.listen(_warn)
        try:
            async with _parts(place, databases=databases) as parts:
                return await operation(parts)
        finally:
            stop()

    return _run(run())


def reach(place: Place, operation: Callable[[Parts, str], Awaitable[T]]) -> T:
    """Return the result of an operation that looks at what can be reached.

    Args:
        place: the bus or the broker that the command names.
        operation: takes the parts, without outboxes if a database does not answer, and the error
            then.
    """
    try:
        return operate(place, lambda parts: operation(parts, ""), databases=True)
    except DatabaseUnavailable as error:
        reason = str(error)
    return operate(place, lambda parts: operation(Parts(parts.broker, parts.service), reason))


def reach_each(place: Place, operation: Callable[[Parts, Sequence[str]], Awaitable[T]]) -> T:
    """Return the result of an operation that looks at each database that can be reached.

    Args:
        place: the bus or the broker that the command names.
        operation: takes the parts, with the outboxes of the databases that answer, and which of
            the others do not answer, and why.
    """

    async def run() -> T:
        async with _parts(place, databases=False) as parts, AsyncExitStack() as stack:
            connections, outboxes, unreachable = Connections(), [], []
            for store in parts.outboxes:
                # Each by itself: one database that is away must not hide the others.
                try:
                    await connections.open(stack, [store.database])
                except DatabaseUnavailable as error:
                    unreachable.append(f"outbox {outbox_name(store)}: {error}")
                else:
                    outboxes.append(store)
            return await operation(Parts(parts.broker, parts.service, outboxes), unreachable)

    return _run(run())


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; SIGTERM interrupts the work as Ctrl-C does.

    Ctrl-C means nothing to a program in the background of a script, and service managers send
    SIGTERM: an interrupted action is recorded in either case.
    """
    if threading.current_thread() is not threading.main_thread():
        # Python receives signals in the main thread only.
        return asyncio.run(work)
    former = signal.getsignal(signal.SIGTERM)

    async def until_terminated() -> T:
        working = asyncio.ensure_future(work)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
        return await working

    try:
        # The plain loop: a command of a few calls gains nothing from uvloop.
        return asyncio.run(until_terminated())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGTERM, former)


def _warn(notice: Notice) -> None:
    # The action is done, so its answer and its status stay as they are.
    if isinstance(notice, ActionUnrecorded):
        text = f"Warning: `{notice.action}` is missing in the log of actions: {notice.error}"
        typer.secho(text, fg="yellow", err=True)


@asynccontextmanager
async def _parts(place: Place, *, databases: bool) -> AsyncIterator[Parts]:
    if place.bus is not None:
        async with place.bus.operating(databases=databases) as parts:
            yield parts
        return
    broker = make_broker(place.url, place.prefix)
    try:
        yield Parts(broker, "")
    finally:
        await broker.close()
