"""Moves pending rows to the streams, a page at a time.

Partitions are appended to side by side, and chunks that were appended are marked while the next are
appended. Within a partition, chunks follow each other in the order of their ids, each appended
where the chunk before has left the stream, and none after a chunk that was refused or failed. A
page must not be read before every chunk of the page before is marked: its heads would be older than
its rows.
"""

import asyncio
import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, StreamHead
from edgy_bus.errors import BrokerNotReady, BrokerUnavailable, DatabaseError, DatabaseUnavailable
from edgy_bus.events import Partition, partition_name
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.packing import Packer
from edgy_bus.outbox.paging import SLOW, Paging, cut, joined
from edgy_bus.outbox.store import Chunk, OutboxStore, Pending, PendingRow
from edgy_bus.outbox.troubles import Troubles, Work
from edgy_bus.settings import RelaySettings
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue, measurements
from edgy_bus.telemetry.measurements import PUBLISH_DELAY

SIDE_BY_SIDE = 4
"""Partitions that are appended to at the same time."""

_UNMARKED = 64
"""Chunks that wait for their mark; appending waits when there are more."""

_NO_SPAN = nullcontext()


@dataclass(frozen=True, slots=True)
class Published:
    """The result of a page: whether there may be more, and the streams that refused an append.

    A stream refuses if it does not stand at the head that was expected, which is the value here.
    """

    more: bool
    refused: Mapping[Partition, StreamHead] = field(default_factory=dict)


@dataclass
class _Page:
    """A page on its way."""

    waiting: Iterator[tuple[Partition, Pending]]
    appended: asyncio.Queue[Chunk | None] = field(default_factory=lambda: asyncio.Queue(_UNMARKED))
    refused: dict[Partition, StreamHead] = field(default_factory=dict)
    outages: list[BrokerUnavailable] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds of the chunk that took the longest."""


class Publisher:
    """Reads, appends and marks. `models` returns models and their numbers of partitions."""

    def __init__(
        self,
        *,
        store: OutboxStore,
        broker: Broker,
        models: Callable[[], Mapping[str, int]],
        settings: RelaySettings,
        signer: Signer | None,
        troubles: Troubles,
    ) -> None:
        self.published = 0
        """Events that were appended and marked."""
        self._store = store
        self._broker = broker
        self._models = models
        self._chunk = settings.chunk
        """Events of a chunk."""
        self._signer = signer
        self._troubles = troubles
        self._paging = Paging(settings)

    async def step(self) -> Published:
        """Publish the next page.

        Raises `BrokerUnavailable` or the error of the database, after the appended rows were
        marked. An error of a stream alone is noted, and the other streams of the page are
        published.
        """
        # Left out of the page, because their rows would fill the page.
        avoided = self._troubles.avoided(Work.PUBLISHING, Work.REPAIRING)
        page = await self._read(avoided)
        if await self._move_misplaced(page):
            # The page is read again: its rows have to be in the order of ids of their partition.
            return Published(more=True)
        for partition, pending in page.items():
            if pending.head is None:
                await self._store.add_stream(partition)
        return Published(bool(page), await self._publish(page))

    async def _read(self, avoided: Collection[Partition]) -> dict[Partition, Pending]:
        began = _now()
        try:
            page = await self._store.pending(self._paging.size, avoided)
        except DatabaseError as error:
            # A limit of time for statements would end the same page again and again. An outage says
            # nothing about the size, unless the wait for the answer was long.
            if not isinstance(error, DatabaseUnavailable) or _now() - began > SLOW:
                self._paging.failed()
            raise
        self._paging.read(page.values(), _now() - began)
        return page

    async def _move_misplaced(self, page: Mapping[Partition, Pending]) -> bool:
        """Move the rows of a process with another number of partitions to where workers look.

        Before any event of their database row is published: the events of a row become visible in
        the order of their ids.
        """
        moved: dict[int, str] = {}
        for model, partitions in self._models().items():
            for partition, pending in page.items():
                if partition.model == model:
                    moved |= misplaced(partition, pending.rows, partitions)
        if moved:
            await self._store.repartition(moved)
            telemetry.emit(
                catalogue.RelayRepartitioned(
                    service=self._store.service, outbox=self._store.id, count=len(moved)
                )
            )
        return bool(moved)

    async def _publish(self, rows: Mapping[Partition, Pending]) -> dict[Partition, StreamHead]:
        page = _Page(iter(rows.items()))
        try:
            # The outer group ends when everything that was appended is marked, so that the next
            # page has heads and rows of one moment.
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._mark_all(page))
                async with asyncio.TaskGroup() as appending:
                    for _ in range(min(SIDE_BY_SIDE, len(rows))):
                        appending.create_task(self._append_some(page))
                await page.appended.put(None)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        if page.outages:
            # A refusal says nothing about the size; a missing answer may have come too late.
            if not all(isinstance(error, BrokerNotReady) for error in page.outages):
                self._paging.not_appended()
            raise page.outages[0]
        self._paging.appended(page.slowest)
        return page.refused

    async def _append_some(self, page: _Page) -> None:
        """Append to the next waiting partition, until none waits or the broker is away."""
        for partition, pending in page.waiting:
            try:
                with self._troubles.of(partition, Work.PUBLISHING):
                    await self._append_all(page, partition, pending)
            except BrokerUnavailable as error:
                # Kept for later: what other partitions have appended is still to be marked.
                page.outages.append(error)
                return

    async def _append_all(self, page: _Page, partition: Partition, pending: Pending) -> None:
        head = pending.head or StreamHead()
        packer = Packer(partition, self._store.service, self._signer)
        for rows in cut(pending.rows, self._chunk, self._paging.chunk_bytes):
            wires = [packer.wire(pending.incarnations, row) for row in rows]
            began = _now()
            with _span(partition, rows):
                entries = await self._broker.publish(partition, head, wires)
            page.slowest = max(page.slowest, _now() - began)
            if entries is None:
                # The rows behind this chunk must not overtake it.
                page.refused[partition] = head
                return
            if telemetry.is_measured():
                telemetry.measure(publish_delays(self._store.service, rows, entries[-1].ms / 1000))
            new = StreamHead(head.epoch, entries[-1], rows[-1].event_id)
            placed = Placed([row.id for row in rows], entries)
            await page.appended.put(Chunk(partition, head, new, placed))
            head = new

    async def _mark_all(self, page: _Page) -> None:
        """Mark chunks until None comes; chunks appended during a mark are marked together."""
        more = True
        while more:
            taken = [await page.appended.get()]
            while not page.appended.empty():
                taken.append(page.appended.get_nowait())
            more = taken[-1] is not None
            chunks = joined([chunk for chunk in taken if chunk is not None])
            if chunks:
                self._report(chunks, await self._store.mark(chunks))

    def _report(self, chunks: Sequence[Chunk], marked: Sequence[bool]) -> None:
        for chunk, done in zip(chunks, marked, strict=True):
            # Another relay has moved the head otherwise, and has marked these rows, or will.
            if done:
                count = len(chunk.placed.ids)
                self.published += count
                telemetry.emit(
                    catalogue.RelayPublished(partition=str(chunk.partition), count=count)
                )


def _span(partition: Partition, rows: Sequence[PendingRow]) -> AbstractContextManager[object]:
    """Return the span in which events are appended, if anybody traces one of them."""
    maker = telemetry.spans()
    if maker is None:
        return _NO_SPAN
    traceparents = [row.traceparent for row in rows]
    return maker.append(partition.model, partition.name, traceparents) or _NO_SPAN


def publish_delays(
    service: str, rows: Iterable[PendingRow], now: float
) -> list[measurements.EventsPublished]:
    """Return the measurement of a chunk that was appended at `now`, in seconds since 1970."""
    delays = []
    for row in rows:
        # Text of another program, perhaps: the time is for people, and nothing depends on it.
        with suppress(ValueError):
            time = dt.datetime.fromisoformat(row.time)
            delays.append(max(0.0, now - time.timestamp()))
    return [measurements.EventsPublished(service=service, delays=PUBLISH_DELAY.fold(delays))]


def misplaced(partition: Partition, rows: Iterable[PendingRow], partitions: int) -> dict[int, str]:
    """Return the ids of the rows that belong to another partition, and its name."""
    right = {row.id: partition_name(row.subject, row.event_id, partitions) for row in rows}
    return {number: name for number, name in right.items() if name != partition.name}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
