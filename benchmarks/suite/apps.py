"""The bus of `edgy-bus worker benchmarks.suite.apps:bus`; the environment chooses its receiver.

`BENCH_WAIT`: seconds that the receiver waits. `BENCH_RECEIVED`: a file for the key of each received
row and the time at which the receiver was called.
"""

import asyncio
import atexit
import os
import time
from typing import Any

import edgy_bus as edgy
from benchmarks.suite.place import MODEL, SERVICE

WAIT = float(os.environ.get("BENCH_WAIT", "0"))
RECEIVED = os.environ.get("BENCH_RECEIVED")

bus = edgy.Bus(
    os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0"),
    service="listener",
    group=os.environ.get("BENCH_GROUP", "listener"),
    prefix=os.environ.get("BENCH_PREFIX", "bench"),
)
_received: list[tuple[Any, int]] = []


def _write() -> None:
    if RECEIVED:
        with open(RECEIVED, "w", encoding="utf-8") as file:
            file.writelines(f"{key} {moment}\n" for key, moment in _received)


atexit.register(_write)

if RECEIVED:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def remember(sender: Any, instance: Any, **kwargs: Any) -> None:
        _received.append((instance.id, time.monotonic_ns()))

elif WAIT:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def wait(sender: Any, instance: Any, **kwargs: Any) -> None:
        await asyncio.sleep(WAIT)

else:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def nothing(sender: Any, instance: Any, **kwargs: Any) -> None: ...
