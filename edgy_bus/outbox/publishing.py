"""Moves one page of pending rows to the streams: partitions side by side, and what is appended is marked while the next is appended.

Within a partition, batches follow each other in the order of their ids, each appended where the one before has left the stream, and none
after one that was refused. A page must not be read before everything of the one before is marked: its heads would be older than
its rows.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Head
from edgy_bus.codec import HeadPacker, Wire
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import Batch, Incarnations, OutboxStore, Pending, PendingRow
from edgy_bus.signing import Signer
from edgy_bus.telemetry import catalogue

SIDE_BY_SIDE = 4
"""Partitions that are appended to at the same time."""

BATCH_BYTES = 1_000_000
"""`data` of a batch, about: a script must not keep the broker from others."""

_UNMARKED = 64
"""Batches that wait for being marked; appending waits when there are more."""


@dataclass
class _Page:
    """One page on its way."""

    waiting: Iterator[tuple[Partition, Pending]]
    appended: asyncio.Queue[Batch | None] = field(default_factory=lambda: asyncio.Queue(_UNMARKED))
    refused: dict[Partition, Head] = field(default_factory=dict)
    troubles: list[BrokerError] = field(default_factory=list)


class Publisher:
    """Appends and marks. `batch`: events per append, at most."""

    def __init__(
        self, store: OutboxStore, broker: Broker, service: str, batch: int, signer: Signer | None
    ) -> None:
        self.published = 0
        self._store = store
        self._broker = broker
        self._service = service
        self._batch = batch
        self._signer = signer

    async def publish(self, rows: Mapping[Partition, Pending]) -> dict[Partition, Head]:
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
        head = one.head or Head()
        heads = HeadPacker(self._service, partition.model)
        for rows in cut(one.rows, self._batch):
            wires = [self._wire(partition, heads, one.incarnations, row) for row in rows]
            entries = await self._broker.publish(partition, head, wires)
            if entries is None:
                page.refused[partition] = head
                return
            new = Head(head.epoch, entries[-1], rows[-1].event_id)
            await page.appended.put(
                Batch(partition, head, new, Placed([row.id for row in rows], entries))
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
            batches = joined([one for one in taken if one is not None])
            if batches:
                self._tell(batches, await self._store.mark(batches))

    def _tell(self, batches: Sequence[Batch], marked: Sequence[bool]) -> None:
        for batch, done in zip(batches, marked, strict=True):
            if done:
                count = len(batch.placed.ids)
                self.published += count
                telemetry.emit(
                    catalogue.RelayPublished(partition=str(batch.partition), count=count)
                )

    def _wire(
        self, partition: Partition, heads: HeadPacker, incarnations: Incarnations, row: PendingRow
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
    """Rows in batches of at most `count` events and about `BATCH_BYTES`."""
    start, size = 0, 0
    for end, row in enumerate(rows):
        size += len(row.data)
        if end > start and (end - start == count or size > BATCH_BYTES):
            yield rows[start:end]
            start, size = end, len(row.data)
    yield rows[start:]


def joined(batches: Sequence[Batch]) -> list[Batch]:
    """The same batches, those of a partition that follow each other as one: each stream once, in an order that all relays agree on."""
    found: dict[Partition, Batch] = {}
    for one in batches:
        before = found.get(one.partition)
        found[one.partition] = one if before is None else _joined(before, one)
    return [found[partition] for partition in sorted(found)]


def _joined(one: Batch, next_one: Batch) -> Batch:
    ids, entries = (
        [*one.placed.ids, *next_one.placed.ids],
        [*one.placed.entries, *next_one.placed.entries],
    )
    return Batch(one.partition, one.old, next_one.new, Placed(ids, entries))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
