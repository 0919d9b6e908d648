"""Repeat calls to a broker that is away."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgy_bus.errors import BrokerUnavailable

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], pause: float) -> T:
    """Repeat a call to the broker until the broker answers.

    The call must be safe to repeat: an answer that was lost may belong to a call that took effect.

    Args:
        call: makes the call.
        pause: seconds between two attempts.
    """
    while True:
        try:
            return await call()
        except BrokerUnavailable:
            await asyncio.sleep(pause)
