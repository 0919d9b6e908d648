"""How fast the relay moves an outbox to Redis, and how fast either side of it is alone.

    python benchmarks/relay.py "postgresql://localhost/test?schema=bench" redis://localhost:6379 --rows 100000

Events of about 300 bytes, 8 partitions. In every round the same number of events is: written to the outbox and drained by the real
relay; appended by the publishing script alone; read from the outbox and marked alone. The figures are medians of the rounds. The
relay's share of a core tells what of its time this process worked; the rest it waited for PostgreSQL, Redis, or a core.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.codec import HeaderPacker, Wire
from edgy_bus.database import Database
from edgy_bus.events import Partition, new_event_id, now, partition_name, partitions_of
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.publishing import SIDE_BY_SIDE
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import Chunk, OutboxStore, Pending
from edgy_bus.outbox.table import metadata
from edgy_bus.services import Bell
from edgy_bus.settings import RelaySettings

RELAYED, ALONE, PARTITIONS = "bench.User", "bench.Alone", 8
SETTINGS = RelaySettings(trim_every=3_600, lease=3_600)
"""Without a look at the streams meanwhile: those of `ALONE` do not stand where the marks alone say."""

DATA = '{"instance":{"id":%d,"name":"' + "x" * 250 + '"},"is_update":false}'
ROUNDS = 3


def events(model: str, count: int) -> Iterator[dict[str, Any]]:
    """Outbox rows of 5,000 rows of a model."""
    for number in range(count):
        subject, event_id = str(number % 5_000), new_event_id()
        yield {
            "model": model,
            "label": partition_name(subject, event_id, PARTITIONS),
            "event_id": event_id,
            "signal": "post_save",
            "subject": subject,
            "time": now().isoformat(),
            "traceparent": None,
            "data": DATA % number,
            "created": time.time_ns() // 1_000_000,
        }


class Bench:
    def __init__(self, database: str, redis: str, rows: int) -> None:
        self.store = OutboxStore(Database(database))
        self.broker = RedisBroker(redis, "bench-relay")
        self.rows = rows
        self.relay = Relay(
            store=self.store,
            broker=self.broker,
            service="bench",
            models=lambda: {RELAYED: PARTITIONS},
            settings=SETTINGS,
            bell=Bell(),
        )

    async def fill(self, model: str) -> None:
        rows = list(events(model, self.rows))
        for start in range(0, len(rows), 5_000):
            await self.store.append(rows[start : start + 5_000])

    async def drain(self) -> None:
        while await self.relay.step():
            pass

    async def append(self, batches: Sequence[tuple[Partition, Sequence[Sequence[Wire]]]]) -> None:
        """The publishing script alone, as many partitions side by side as the relay has."""
        waiting = iter(batches)

        async def work() -> None:
            for partition, wires in waiting:
                head = (await self.broker.inspect(partition, StreamHead(), "bench", 1)).head
                for batch in wires:
                    entries = await self.broker.publish(partition, head, batch)
                    assert entries is not None
                    head = StreamHead(head.epoch, entries[-1], batch[-1].id)

        await asyncio.gather(*(work() for _ in range(SIDE_BY_SIDE)))

    def batches(self) -> list[tuple[Partition, list[list[Wire]]]]:
        heads = HeaderPacker("bench", ALONE)
        wires: dict[Partition, list[Wire]] = {
            place: [] for place in partitions_of(ALONE, PARTITIONS)
        }
        for number, row in enumerate(events(ALONE, self.rows)):
            head = heads.pack(
                row["event_id"],
                row["signal"],
                subject=row["subject"],
                time=row["time"],
                sequence=number,
                incarnation=1,
                traceparent=None,
            )
            wires[Partition(ALONE, row["label"])].append(
                Wire(row["event_id"], head, row["data"].encode())
            )
        size = SETTINGS.chunk
        return [
            (place, [one[at : at + size] for at in range(0, len(one), size)])
            for place, one in wires.items()
        ]

    async def read_and_mark(self) -> None:
        """What the relay asks of the database, alone."""
        while page := await self.store.pending(SETTINGS.page):
            marked = [_batch(partition, one) for partition, one in page.items()]
            assert all(await self.store.mark(marked))

    async def round(self) -> dict[str, float]:
        await self.fill(RELAYED)
        work, found = time.process_time(), {}
        found["relay"] = await self._speed(self.drain)
        found["relay, share of a core"] = (time.process_time() - work) / (
            self.rows / found["relay"]
        )
        batches = self.batches()
        found["publishing script alone"] = await self._speed(lambda: self.append(batches))
        await self.fill(ALONE)
        found["PostgreSQL alone: read and mark"] = await self._speed(self.read_and_mark)
        return found

    async def _speed(self, work: Callable[[], Awaitable[None]]) -> float:
        began = time.perf_counter()
        await work()
        return self.rows / (time.perf_counter() - began)

    async def run(self) -> list[dict[str, float]]:
        await self.store.database.connect()
        try:
            await self._clear()
            await self.store.prepare()
            for partition in partitions_of(ALONE, PARTITIONS):
                await self.store.add_stream(partition)
            return [await self.round() for _ in range(ROUNDS)]
        finally:
            await self._clear()
            await self.store.database.disconnect()
            await self.broker.close()

    async def _clear(self) -> None:
        await self.broker.erase()
        await self.store.database.drop_tables(metadata)


def _batch(partition: Partition, one: Pending) -> Chunk:
    """The rows of a page as if they had been appended."""
    old = one.head or StreamHead()
    entries = [EntryId(old.entry.ms + 1, seq) for seq in range(len(one.rows))]
    new = StreamHead("bench", entries[-1], one.rows[-1].event_id)
    return Chunk(partition, old, new, Placed([row.id for row in one.rows], entries))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("database")
    options.add_argument("redis")
    options.add_argument("--rows", type=int, default=100_000)
    given = options.parse_args()
    rounds = uvloop.run(Bench(given.database, given.redis, given.rows).run())
    table = Table("what", "events/s, median", "rounds")
    for name in rounds[0]:
        figures = [one[name] for one in rounds]
        form = ",.0f" if min(figures) > 10 else ".2f"
        table.add_row(
            name,
            format(statistics.median(figures), form),
            ", ".join(format(figure, form) for figure in figures),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
