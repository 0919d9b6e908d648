"""The connections of the dashboard: the broker, and each database that answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.operations import Parts
from edgy_bus.operations.parts import outbox_name
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.wiring import Connections

T = TypeVar("T")

AGAIN = 15.0
"""Seconds after which a database that did not answer is tried again."""


class Reach:
    """Hold the connections of the dashboard.

    Args:
        parts: the broker, and outboxes whose databases are connected here, at their first use.
        stack: closes the connections.
    """

    def __init__(self, parts: Parts, stack: AsyncExitStack) -> None:
        self.parts = parts
        self._stack = stack
        self._connections = Connections()
        self._connected: set[int] = set()
        self._failed: dict[int, tuple[float, str]] = {}
        self._lock = asyncio.Lock()

    async def look(self, view: Callable[[Parts, tuple[str, ...]], Awaitable[T]]) -> T:
        """Return a view of all that can be reached.

        Args:
            view: takes the parts, with the outboxes of the databases that answer, and the
                databases that do not answer, each with the reason.
        """
        outboxes, unreachable = [], []
        # One request connects, and the others wait.
        async with self._lock:
            for store in self.parts.outboxes:
                reason = await self._connect(store)
                if reason:
                    unreachable.append(f"{outbox_name(store)}: {reason}")
                else:
                    outboxes.append(store)
        parts = self.parts
        # The doctor and the page of replays read how far these are in the databases.
        publishers = [each for each in parts.publishers if each.store in outboxes]
        reached = Parts(parts.broker, parts.service, outboxes, parts.signer, publishers)
        try:
            return await view(reached, tuple(unreachable))
        except DatabaseUnavailable as error:
            reasons = (*unreachable, str(error))
        # A database that went away in between must not hide the facts of the broker.
        return await view(Parts(parts.broker, parts.service, (), parts.signer), reasons)

    async def _connect(self, store: OutboxStore) -> str:
        now, key = time.monotonic(), id(store)
        if key in self._connected:
            return ""
        tried, reason = self._failed.get(key, (0.0, ""))
        # Pages refresh every few seconds, and a database that is away may take long to say so.
        if reason and now - tried < AGAIN:
            return reason
        self._failed.pop(key, None)
        try:
            async with AsyncExitStack() as stack:
                await self._connections.open(stack, [store.database])
                kept = stack.pop_all()
        except DatabaseUnavailable as error:
            self._failed[key] = (now, str(error))
            return str(error)
        self._stack.push_async_callback(kept.aclose)
        self._connected.add(key)
        return ""
