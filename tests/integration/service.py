"""A service whose outbox nobody empties: what tests of events look into."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import RelaySettings, WorkerSettings

QUICK: Mapping[str, Any] = {
    "working": WorkerSettings(lease=1.0, block=0.05, backoff=0.05),
    "relaying": RelaySettings(poll=0.05),
}
"""Options of a bus whose worker and relay look often."""


class Service:
    """A service without a relay. Subclasses declare its models; `options` are those of `Bus`."""

    def __init__(self, database: edgy.Database, *, relay: bool = False, **options: Any) -> None:
        self.database = database
        self.bus = edgy.Bus("memory://", service="shop", relay=relay, **options)
        self.registry = edgy.Registry(database, bus=self.bus)

    async def take_outbox(self) -> list[dict[str, Any]]:
        """Return the rows of the outbox as `outbox` does, and delete them."""
        rows = await self.outbox()
        await self.database.run(outbox.delete())
        return rows

    async def outbox(self) -> list[dict[str, Any]]:
        """Return the rows of the outbox, oldest first, with `data` decoded."""
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        return [{**row, "data": loads(row["data"])} for row in rows]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        async with self.bus:
            await self.registry.create_all()
            yield self


@asynccontextmanager
async def handling(bus: edgy.Bus, registry: edgy.Registry) -> AsyncIterator[None]:
    """Run a bus, and a worker if receivers run in workers. Receivers are connected by now."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus)
        await registry.create_all()
        if bus.subscriptions():
            await stack.enter_async_context(bus.worker())
        yield
