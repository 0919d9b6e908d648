"""SAQ: 100 jobs side by side, no results kept, orjson, uvloop, hiredis.

Jobs have no time limit of their own.
"""

import asyncio
import logging
from typing import Any

import orjson
import peer
from saq import Queue, Worker

TASK = peer.task()
COUNTER = peer.Counter(TASK.count)


async def handle(context: Any, *, row: dict[str, Any]) -> None:
    COUNTER()


async def main() -> None:
    queue = Queue.from_url(TASK.redis, name=TASK.name, dump=orjson.dumps, load=orjson.loads)
    await queue.connect()
    rows = peer.events(TASK.count)

    async def publish() -> None:
        for row in rows:
            await queue.enqueue("handle", row=row, ttl=-1)

    rate = await peer.timed(publish, TASK.count)
    if TASK.mode == "consume":
        worker = Worker(queue, [handle], concurrency=100)
        running = asyncio.create_task(worker.start())
        await peer.all_handled(COUNTER)
        await worker.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        rate = COUNTER.rate
    await queue.disconnect()
    peer.say(rate, "saq", "redis")


logging.disable(logging.WARNING)
peer.run(main())
