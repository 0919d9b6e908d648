"""arq: no results, 100 jobs side by side, a burst worker without a log line for each job.

With hiredis and uvloop.
"""

import json
import logging
from typing import Any

import peer
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

TASK = peer.task()
COUNTER = peer.Counter(TASK.count)
QUEUE = f"{TASK.name}:queue"


async def handle(context: dict[str, Any], row: dict[str, Any]) -> None:
    COUNTER()


async def main() -> None:
    coding: dict[str, Any] = {
        "job_serializer": lambda value: json.dumps(value).encode(),
        "job_deserializer": json.loads,
    }
    pool = await create_pool(
        RedisSettings.from_dsn(TASK.redis),
        default_queue_name=QUEUE,
        job_serializer=coding["job_serializer"],
    )
    rows = peer.events(TASK.count)

    async def publish() -> None:
        # The id carries the run's name, because arq's keys of a job are made of it.
        for number, row in enumerate(rows):
            await pool.enqueue_job("handle", row, _job_id=f"{TASK.name}:{number}")

    rate = await peer.timed(publish, TASK.count)
    if TASK.mode == "consume":
        worker = Worker(
            [handle],
            queue_name=QUEUE,
            redis_pool=pool,
            burst=True,
            handle_signals=False,
            max_jobs=100,
            keep_result=0,
            poll_delay=0.01,
            log_results=False,
            health_check_key=f"{TASK.name}:health",
            **coding,
        )
        peer.watch(COUNTER)
        await worker.async_run()
        await worker.close()
        rate = COUNTER.rate
    else:
        await pool.aclose()
    peer.say(rate, "arq", "redis")


logging.disable(logging.WARNING)
peer.run(main())
