"""Wait for news on the streams whose tenures have read everything."""

import asyncio
from collections.abc import Iterable, Mapping

from edgy_bus.brokers.base import Bell, EntryId
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.runtime.assignment import Post
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.services import Progress, happens
from edgy_bus.settings import WorkerSettings


class NewsWatch:
    """Wake up idle tenures when their streams have new entries.

    One bell waits for all streams of a group. A wait takes no entries, so a wait that is cut off or
    cancelled loses nothing.

    Args:
        tenures: the tenures of a group, kept up to date by the consumer.

    Attributes:
        progress: noted before each wait.
    """

    def __init__(self, settings: WorkerSettings, tenures: Mapping[Post, Tenure]) -> None:
        self._block = settings.block
        self._pause = min(0.5, settings.backoff)
        self._tenures = tenures
        self.progress = Progress()
        self._stale = asyncio.Event()
        """Set while the bell waits with other positions than those of the idle tenures."""

    def rearm(self) -> None:
        """Let the bell wait with new positions: a tenure has become idle."""
        self._stale.set()

    async def listen(self, bell: Bell) -> None:
        """Wake up tenures for ever."""
        while True:
            self._stale.clear()
            self.progress.note(rests=self._block)
            positions = self._positions()
            if not positions:
                await happens(self._stale, self._block)
                continue
            try:
                ringing: Iterable[Partition] = await bell.wait(positions, self._block)
            except BrokerError:
                await asyncio.sleep(self._pause)
                # A broker that cannot wait may still answer reads: each tenure finds out by itself.
                ringing = positions
            # Not those that were given back during the wait.
            for post, tenure in sorted(self._tenures.items()):
                if post.partition in ringing and tenure.position is not None:
                    tenure.wake()

    def _positions(self) -> dict[Partition, EntryId]:
        """Return the least position of the idle tenures of each partition."""
        positions: dict[Partition, EntryId] = {}
        for post, tenure in self._tenures.items():
            if tenure.position is not None:
                before = positions.get(post.partition, tenure.position)
                positions[post.partition] = min(before, tenure.position)
        return positions

    async def interrupt(self, bell: Bell) -> None:
        """End the bell's wait whenever positions have changed, for ever."""
        while True:
            await self._stale.wait()
            try:
                await bell.interrupt()
            except BrokerError:
                await asyncio.sleep(self._pause)
            # The bell may miss an interruption that comes just before its wait, so this is repeated
            # until `listen` has taken note.
            await asyncio.sleep(0.01)
