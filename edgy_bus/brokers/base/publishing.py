"""The publisher's role: append to streams, compare where a stream stands, trim."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base.values import EntryId, Landmark, StreamHead, StreamState
from edgy_bus.codec import Wire
from edgy_bus.events import Partition

PAGE = 500
"""The most landmarks in one answer: a script of a few milliseconds."""


class Publishing(ABC):
    """Append events by compare-and-set on the stream's head. Safety needs no lease."""

    @abstractmethod
    async def declare(self, model: str, partitions: int) -> int:
        """Record the number of partitions of a model and return the recorded number.

        The first declaration decides. Works on a broker that is full.
        """

    @abstractmethod
    async def declared(self) -> Mapping[str, int]:
        """Return every declared model with its number of partitions."""

    @abstractmethod
    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        """Append a chunk of events if the stream stands at `head`. Return the entry ids.

        Otherwise append nothing and return None.
        """

    @abstractmethod
    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        """Return where the stream stands, with up to `count` landmarks.

        Set `fresh_epoch` if the stream has no epoch, or has the epoch of `head` but not its entry.
        A stream that lost its tail gives the same ids to other events. With the new epoch, no
        publisher appends after a loss in the epoch in which the loss happened.
        """

    @abstractmethod
    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        """Return the next landmarks after an entry, up to `newest`.

        Return None if the stream does not hold `newest`: then the stream is another stream.
        While the stream holds `newest`, only trimming can have changed the entries below.
        """

    @abstractmethod
    async def announce(self, partition: Partition, events: Sequence[Wire], keep: int) -> int:
        """Append events without any promise, and keep the newest entries, up to `keep` bytes.

        Return the number of entries that were removed although some group had not read them.
        """

    @abstractmethod
    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        """Return for every group the id below which the group has finished every entry.

        That is the least unfinished entry, or the id after the last entry that the group has read.
        Return None if the stream does not hold `head`: the ids of another stream mean other events.
        """

    async def progress_of_all(
        self, heads: Mapping[Partition, StreamHead]
    ) -> Sequence[Mapping[str, EntryId] | None]:
        """Return the answer of `progress` for each stream, in the order of `heads`.

        Raises the error of any stream.
        """
        answers = (self.progress(partition, head) for partition, head in heads.items())
        return await asyncio.gather(*answers)

    @abstractmethod
    async def trim(
        self,
        partition: Partition,
        head: StreamHead,
        below: EntryId,
        progress: Mapping[str, EntryId],
    ) -> int | None:
        """Remove the entries below an id if the stream holds `head`. Return how many are removed.

        Return None if the removal is refused.

        A stream that began again after a loss may have smaller ids, if the server's clock went
        back: trimming such a stream would remove new events. `progress` is the answer to the
        question that `below` follows from. Nothing is removed if one of its groups has gone back
        since, because an older copy of the data has come back.
        """
