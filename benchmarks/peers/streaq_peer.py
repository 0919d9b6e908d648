"""streaQ: 100 tasks side by side, prefetch of 100, no results kept, JSON, uvloop, hiredis.

The batch form of publishing is `enqueue_many`.
"""

import json
import logging
from typing import Any

import anyio
import peer
from streaq import Worker

TASK = peer.task()
COUNTER = peer.Counter(TASK.count)
WORKER: Worker[None] = Worker(
    redis_url=TASK.redis,
    queue_name=f"{TASK.name}:queue",
    concurrency=100,
    prefetch=100,
    serializer=json.dumps,
    deserializer=json.loads,
    handle_signals=False,
)


@WORKER.task(ttl=0, name="handle")
async def handle(row: dict[str, Any]) -> None:
    COUNTER()


async def publish(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        await handle.enqueue(row)


async def batch(rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), peer.BATCH):
        chunk = rows[start : start + peer.BATCH]
        await WORKER.enqueue_many([handle.enqueue(row) for row in chunk])


async def main() -> None:
    rows = peer.events(TASK.count)
    async with WORKER:
        work = publish if TASK.mode == "publish" else batch
        rate = await peer.timed(lambda: work(rows), TASK.count)
    if TASK.mode == "consume":
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(WORKER.run_async)
            await peer.all_handled(COUNTER)
            # streaQ stores the results of the last handlers, which is no part of the rate.
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
        rate = COUNTER.rate
    peer.say(rate, "streaq", "coredis")


logging.disable(logging.WARNING)
peer.run(main())
