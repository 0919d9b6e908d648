"""FastStream on Redis Streams with a consumer group: reads of 100, 100 handlers side by side, orjson, uvloop, hiredis.

Its batch form of publishing to a stream is a pipeline of the Redis client, which it takes as an argument.
"""

import logging
from typing import Any

import peer
from faststream import FastStream
from faststream.redis import RedisBroker, StreamSub

TASK = peer.task()
STREAM = f"{TASK.name}:events"


async def publish(broker: RedisBroker, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        await broker.publish(row, stream=STREAM)


async def batch(broker: RedisBroker, rows: list[dict[str, Any]]) -> None:
    client = await broker.connect()
    for start in range(0, len(rows), peer.BATCH):
        async with client.pipeline(transaction=False) as pipeline:
            for row in rows[start : start + peer.BATCH]:
                await broker.publish(row, stream=STREAM, pipeline=pipeline)
            await pipeline.execute()


def subscribe(broker: RedisBroker, counter: peer.Counter) -> None:
    # FastStream acknowledges one by one. Reads of 100 are its documentation's way to more throughput, with several workers.
    source: Any = {"group": "bench", "consumer": "one", "last_id": "0"}
    if TASK.what == "consume_batch":

        @broker.subscriber(stream=StreamSub(STREAM, **source, batch=True, max_records=100))
        async def many(rows: list[dict[str, Any]]) -> None:
            for _ in rows:
                counter()

        return

    @broker.subscriber(stream=StreamSub(STREAM, **source, max_records=100))
    async def one(row: dict[str, Any]) -> None:
        counter()


async def main() -> None:
    broker = RedisBroker(TASK.redis, logger=None)
    rows = peer.events(TASK.count)
    async with broker:
        if TASK.what in ("publish", "batch"):
            rate = await peer.timed(
                lambda: {"publish": publish, "batch": batch}[TASK.what](broker, rows), TASK.count
            )
            peer.say(rate, "faststream", "redis")
            return
        await batch(broker, rows)
    counter = peer.Counter(TASK.count)
    broker = RedisBroker(TASK.redis, logger=None)
    subscribe(broker, counter)
    app = FastStream(broker, logger=None)
    await app.start()
    await peer.until(lambda: counter.seen >= TASK.count)
    await app.stop()
    peer.say(counter.rate, "faststream", "redis")


logging.disable(logging.WARNING)
peer.run(main())
