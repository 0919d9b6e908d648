"""The bell of the memory broker."""

import asyncio
from collections.abc import Mapping

from edgy_bus.brokers.base import Bell, EntryId
from edgy_bus.brokers.memory.state import Stream
from edgy_bus.events import Partition


class MemoryBell(Bell):
    """Wake at every append to any stream, and compare positions."""

    def __init__(self, streams: Mapping[Partition, Stream], news: asyncio.Condition) -> None:
        self._streams = streams
        self._news = news
        self._interrupted = False

    async def wait(
        self, positions: Mapping[Partition, EntryId], timeout: float
    ) -> dict[Partition, EntryId]:
        ready: dict[Partition, EntryId] = {}

        def look() -> bool:
            ready.update(self._ready(positions))
            return bool(ready) or self._interrupted

        # `wait_for` looks once before the first wait: an append just before this call is not lost.
        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(look)
        except TimeoutError:
            return {}
        finally:
            self._interrupted = False
        return ready

    def _ready(self, positions: Mapping[Partition, EntryId]) -> dict[Partition, EntryId]:
        """Return the first entry after the position, of each partition that has one."""
        firsts = {
            partition: self._streams[partition].first_after(position)
            for partition, position in positions.items()
        }
        return {partition: entry for partition, entry in firsts.items() if entry is not None}

    async def interrupt(self) -> None:
        self._interrupted = True
        async with self._news:
            self._news.notify_all()

    async def close(self) -> None:
        return None
