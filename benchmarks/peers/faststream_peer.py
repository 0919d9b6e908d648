"""FastStream on Redis Streams with a consumer group, orjson, uvloop, hiredis.

Reads of 100 entries, 100 handlers side by side. The batch form of publishing is a pipeline of the
Redis client, which FastStream takes as an argument.
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
    # FastStream acknowledges each entry. Its documentation recommends reads of 100 and several
    # workers for throughput.
    source: Any = {"group": "bench", "consumer": "one", "last_id": "0"}
    if TASK.mode == "consume_batch":

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
        if TASK.mode in ("publish", "batch"):
            rate = await peer.timed(
                lambda: {"publish": publish, "batch": batch}[TASK.mode](broker, rows), TASK.count
            )
            peer.say(rate, "faststream", "redis")
            return
        await batch(broker, rows)
    counter = peer.Counter(TASK.count)
    broker = RedisBroker(TASK.redis, logger=None)
    subscribe(broker, counter)
    app = FastStream(broker, logger=None)
    await app.start()
    await peer.all_handled(counter)
    await app.stop()
    peer.say(counter.rate, "faststream", "redis")


logging.disable(logging.WARNING)
peer.run(main())
