"""Runs an operation for a command: with its connections, and with nothing else of a bus."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgy_bus.bus import Bus
from edgy_bus.operations import Parts

T = TypeVar("T")


def operate(bus: Bus, operation: Callable[[Parts], Awaitable[T]], *, databases: bool = False) -> T:
    """Return the result of an operation, whose connections are closed by then.

    Args:
        bus: the bus that the command names. The bus is not started.
        operation: takes the parts of the bus.
        databases: whether the operation needs the publishers' databases.
    """

    async def run() -> T:
        async with bus.operating(databases=databases) as parts:
            return await operation(parts)

    # The plain loop: a command of a few calls gains nothing from uvloop.
    return asyncio.run(run())
