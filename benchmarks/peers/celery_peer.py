"""Celery on Redis: JSON, results ignored, no rate limits.

The worker is a process without gossip, mingle and heartbeat. Its pool `solo` is faster here than
`threads`. Prefetch is large, as Celery's documentation recommends for short tasks.
"""

import logging
import time

import peer
from celery import Celery
from celery.exceptions import WorkerShutdown

TASK = peer.task()
COUNTER = peer.Counter(TASK.count)
APP = Celery("bench", broker=TASK.redis)
APP.conf.update(
    task_ignore_result=True,
    task_default_queue=f"{TASK.name}-queue",
    worker_prefetch_multiplier=500,
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": f"{TASK.name}:"},
)


@APP.task(name="handle")
def handle(row: object) -> None:
    if COUNTER():
        raise WorkerShutdown


def publish() -> float:
    rows = peer.events(TASK.count)
    start = time.perf_counter()
    with APP.producer_pool.acquire(block=True) as producer:
        for row in rows:
            handle.apply_async((row,), producer=producer)
    return TASK.count / (time.perf_counter() - start)


logging.disable(logging.CRITICAL)
RATE = publish()
if TASK.mode == "consume":
    WORKER = APP.WorkController(
        pool="solo",
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    peer.watch(COUNTER)
    WORKER.start()
    RATE = COUNTER.rate
peer.say(RATE, "celery", "kombu", "redis")
