"""Wait for news on the streams whose tenures have read everything."""

import asyncio
from collections.abc import Mapping

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

    The bell goes on waiting for a stream that it has rung for, behind the entry that it has seen.
    So a tenure that reads this entry, and is idle again, finds the bell waiting where it should,
    and nobody has to interrupt the wait. A stream that rings while its tenure still reads is busy,
    and is left out until the tenure is idle.

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
        self._positions: Mapping[Partition, EntryId] = {}
        """What the bell waits for: an entry after the position, of each partition."""
        self._woken: dict[Post, EntryId] = {}
        """The entry that each tenure was woken up for, unless its stream has rung since."""
        self._stale = asyncio.Event()
        """Set while the bell waits behind the position of an idle tenure, or not for its stream."""
        self._noted = asyncio.Event()
        """Set when the bell waits with new positions."""

    def expect(self, partition: Partition, position: EntryId) -> None:
        """Let the bell ring for entries after a position: a tenure has become idle."""
        waits_at = self._positions.get(partition)
        if waits_at is None or waits_at > position:
            self._stale.set()

    async def listen(self, bell: Bell) -> None:
        """Wake up tenures for ever."""
        while True:
            self._stale.clear()
            self._noted.set()
            self.progress.note(rests=self._block)
            self._positions = self._expected()
            if not self._positions:
                await happens(self._stale, self._block)
                continue
            try:
                ringing = await bell.wait(self._positions, self._block)
            except BrokerError:
                await asyncio.sleep(self._pause)
                # A broker that cannot wait may still answer reads: each tenure finds out by itself.
                self._wake_all()
            else:
                self._wake(ringing)

    def _expected(self) -> dict[Partition, EntryId]:
        """Return the least position, of each partition, behind which a tenure expects news."""
        self._woken = {post: self._woken[post] for post in self._tenures if post in self._woken}
        positions: dict[Partition, EntryId] = {}
        for post, tenure in self._tenures.items():
            position = tenure.position
            if position is None:
                position = self._woken.get(post)
            if position is not None:
                before = positions.get(post.partition, position)
                positions[post.partition] = min(before, position)
        return positions

    def _wake(self, ringing: Mapping[Partition, EntryId]) -> None:
        # Not those that were given back during the wait.
        for post, tenure in sorted(self._tenures.items()):
            entry = ringing.get(post.partition)
            if entry is None:
                continue
            if tenure.position is None:
                self._woken.pop(post, None)
            elif tenure.position < entry:
                self._woken[post] = entry
                tenure.wake()

    def _wake_all(self) -> None:
        for tenure in self._tenures.values():
            if tenure.position is not None:
                tenure.wake()

    async def interrupt(self, bell: Bell) -> None:
        """End the bell's wait whenever it has to wait with other positions, for ever."""
        while True:
            await self._stale.wait()
            if not self._stale.is_set():
                continue
            self._noted.clear()
            try:
                await bell.interrupt()
            except BrokerError:
                await asyncio.sleep(self._pause)
            # The bell may miss an interruption that comes just before its wait, so this is repeated
            # until `listen` has taken note.
            await happens(self._noted, 0.01)
