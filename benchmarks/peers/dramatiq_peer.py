"""dramatiq: its Redis broker, its standard middleware, hiredis.

Eight worker threads (the default) in a process.
"""

import logging
import time

import dramatiq
import peer
from dramatiq.brokers.redis import RedisBroker

TASK = peer.task()
COUNTER = peer.Counter(TASK.count)
BROKER = RedisBroker(url=TASK.redis, namespace=f"{TASK.name}:dramatiq")
dramatiq.set_broker(BROKER)


@dramatiq.actor(max_retries=0)
def handle(row: object) -> None:
    # Threads may lose a count in theory: the script then fails instead of printing a rate.
    COUNTER()


def publish() -> float:
    rows = peer.events(TASK.count)
    start = time.perf_counter()
    for row in rows:
        handle.send(row)
    return TASK.count / (time.perf_counter() - start)


logging.disable(logging.CRITICAL)
RATE = publish()
if TASK.mode == "consume":
    WORKER = dramatiq.Worker(BROKER, worker_threads=8)
    WORKER.start()
    peer.watch(COUNTER)
    while COUNTER.seen < TASK.count:
        time.sleep(0.02)
    WORKER.stop()
    RATE = COUNTER.rate
BROKER.close()
peer.say(RATE, "dramatiq", "redis")
