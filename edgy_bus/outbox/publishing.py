"""Moves one page of pending rows to the streams: partitions side by side, and what is appended is marked while the next is appended.

Within a partition, chunks follow each other in the order of their ids, each appended where the one before has left the stream, and none
after one that was refused. A page must not be read before everything of the one before is marked: its heads would be older than
its rows.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, StreamHead
from edgy_bus.codec import HeaderPacker, Wire
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import Chunk, Incarnations, OutboxStore, Pending, PendingRow
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

SIDE_BY_SIDE = 4
"""Partitions that are appended to at the same time."""

CHUNK_BYTES = 1_000_000
"""`data` of a chunk, about: a script must not keep the broker from others."""

_UNMARKED = 64
"""Batches that wait for being marked; appending waits when there are more."""


@dataclass
class _Page:
    """One page on its way."""

    waiting: Iterator[tuple[Partition, Pending]]
    appended: asyncio.Queue[Chunk | None] = field(default_factory=lambda: asyncio.Queue(_UNMARKED))
    refused: dict[Partition, StreamHead] = field(default_factory=dict)
    troubles: list[BrokerError] = field(default_factory=list)


class Publisher:
    """Appends and marks. `chunk`: events per append, at most."""

    def __init__(
        self, store: OutboxStore, broker: Broker, service: str, chunk: int, signer: Signer | None
    ) -> None:
        self.published = 0
        self._store = store
        self._broker = broker
        self._service = service
        self._chunk = chunk
        self._signer = signer

    async def publish(self, rows: Mapping[Partition, Pending]) -> dict[Partition, StreamHead]:
        """Append and mark a page; answers the streams that refused, each with the head that was expected of it.

        Raises what the broker or the database raised, after what could be appended was marked.
        """
        page = _Page(iter(rows.items()))
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._mark_all(page))
                async with asyncio.TaskGroup() as appending:
                    for _ in range(min(SIDE_BY_SIDE, len(rows))):
                        appending.create_task(self._append_some(page))
                await page.appended.put(None)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        if page.troubles:
            raise page.troubles[0]
        return page.refused

    async def _append_some(self, page: _Page) -> None:
        """One partition after another, whichever is waiting."""
        try:
            for partition, one in page.waiting:
                await self._append_all(page, partition, one)
        except BrokerError as error:
            page.troubles.append(error)

    async def _append_all(self, page: _Page, partition: Partition, one: Pending) -> None:
        head = one.head or StreamHead()
        heads = HeaderPacker(self._service, partition.model)
        for rows in cut(one.rows, self._chunk):
            wires = [self._wire(partition, heads, one.incarnations, row) for row in rows]
            entries = await self._broker.publish(partition, head, wires)
            if entries is None:
                page.refused[partition] = head
                return
            new = StreamHead(head.epoch, entries[-1], rows[-1].event_id)
            await page.appended.put(
                Chunk(partition, head, new, Placed([row.id for row in rows], entries))
            )
            head = new

    async def _mark_all(self, page: _Page) -> None:
        """Until None comes: what has been appended while the last mark was made is marked in one step."""
        more = True
        while more:
            taken = [await page.appended.get()]
            while not page.appended.empty():
                taken.append(page.appended.get_nowait())
            more = taken[-1] is not None
            chunks = joined([one for one in taken if one is not None])
            if chunks:
                self._tell(chunks, await self._store.mark(chunks))

    def _tell(self, chunks: Sequence[Chunk], marked: Sequence[bool]) -> None:
        for chunk, done in zip(chunks, marked, strict=True):
            if done:
                count = len(chunk.placed.ids)
                self.published += count
                telemetry.emit(
                    catalogue.RelayPublished(partition=str(chunk.partition), count=count)
                )

    def _wire(
        self, partition: Partition, heads: HeaderPacker, incarnations: Incarnations, row: PendingRow
    ) -> Wire:
        number, event_id, signal, subject, time, traceparent, text = row
        head = heads.pack(
            event_id,
            signal,
            subject=subject,
            time=time,
            sequence=number,
            incarnation=incarnations.of(number),
            traceparent=traceparent,
        )
        data = text.encode()
        signature = (
            b""
            if self._signer is None
            else self._signer.sign(partition, event_id.encode(), head, data)
        )
        return Wire(event_id, head, data, signature)


def cut(rows: Sequence[PendingRow], count: int) -> Iterator[Sequence[PendingRow]]:
    """Rows in chunks of at most `count` events and about `CHUNK_BYTES`."""
    start, size = 0, 0
    for end, row in enumerate(rows):
        size += len(row.data)
        if end > start and (end - start == count or size > CHUNK_BYTES):
            yield rows[start:end]
            start, size = end, len(row.data)
    yield rows[start:]


def joined(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same chunks, those of a partition that follow each other as one: each stream once, in an order that all relays agree on."""
    found: dict[Partition, Chunk] = {}
    for one in chunks:
        before = found.get(one.partition)
        found[one.partition] = one if before is None else _joined(before, one)
    return [found[partition] for partition in sorted(found)]


def _joined(one: Chunk, next_one: Chunk) -> Chunk:
    ids, entries = (
        [*one.placed.ids, *next_one.placed.ids],
        [*one.placed.entries, *next_one.placed.entries],
    )
    return Chunk(one.partition, one.old, next_one.new, Placed(ids, entries))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
