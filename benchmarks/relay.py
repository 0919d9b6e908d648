"""How fast the relay moves an outbox to Redis, and what limits it.

python benchmarks/relay.py "postgresql://localhost/test?schema=bench" redis://localhost:6379 --rows 100000
"""

import argparse
import time

import uvloop

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.database import Database
from edgy_bus.events import new_event_id, now, partition_label
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.outbox.table import metadata
from edgy_bus.services import Bell
from edgy_bus.settings import RelaySettings

MODEL, PARTITIONS = "bench.User", 8
DATA = '{"instance":{"id":%d,"name":"' + "x" * 250 + '"},"is_update":false}'


def event(number: int) -> dict:
    subject, event_id = str(number % 5_000), new_event_id()
    return {
        "model": MODEL,
        "label": partition_label(subject, event_id, PARTITIONS),
        "event_id": event_id,
        "signal": "post_save",
        "subject": subject,
        "time": now().isoformat(),
        "traceparent": None,
        "data": DATA % number,
        "created": time.time_ns() // 1_000_000,
    }


async def fill(store: OutboxStore, rows: int) -> None:
    for start in range(0, rows, 5_000):
        async with store.database.transaction():
            await store.append([event(number) for number in range(start, min(rows, start + 5_000))])


async def main(url: str, redis: str, rows: int) -> None:
    broker = RedisBroker(redis, "bench-relay")
    store = OutboxStore(Database(url))
    await store.database.connect()
    await store.database.drop_tables(metadata)
    await store.prepare()
    await broker.erase()
    relay = Relay(
        store=store,
        broker=broker,
        service="bench",
        models=lambda: {MODEL: PARTITIONS},
        settings=RelaySettings(),
        bell=Bell(),
    )
    await fill(store, 500)
    while await relay.step():
        pass
    for _ in range(3):
        began = time.perf_counter()
        await fill(store, rows)
        print(f"filled {rows / (time.perf_counter() - began):,.0f}/s")
        began, before, cpu = time.perf_counter(), relay.published, time.process_time()
        while await relay.step():
            pass
        took = time.perf_counter() - began
        print(f"relay: {(relay.published - before) / took:,.0f} events/s, cpu {(time.process_time() - cpu) / took:.2f}")
    await broker.erase()
    await store.database.drop_tables(metadata)
    await store.database.disconnect()
    await broker.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("database")
    options.add_argument("redis")
    options.add_argument("--rows", type=int, default=100_000)
    given = options.parse_args()
    uvloop.run(main(given.database, given.redis, given.rows))
