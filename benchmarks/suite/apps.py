"""What `edgy-bus worker benchmarks.suite.apps:bus` runs in the benchmarks; the environment says what its receiver does.

`BENCH_WAIT`: seconds that the receiver waits. `BENCH_HEARD`: a file, to which it writes which row it heard of, and when.
"""

import asyncio
import atexit
import os
import time
from typing import Any

import edgy_bus as edgy
from benchmarks.suite.place import MODEL, SERVICE

WAIT = float(os.environ.get("BENCH_WAIT", "0"))
HEARD = os.environ.get("BENCH_HEARD")

bus = edgy.Bus(
    os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0"),
    service="listener",
    group=os.environ.get("BENCH_GROUP", "listener"),
    prefix=os.environ.get("BENCH_PREFIX", "bench"),
)
_heard: list[tuple[Any, int]] = []


def _write() -> None:
    if HEARD:
        with open(HEARD, "w", encoding="utf-8") as file:
            file.writelines(f"{key} {moment}\n" for key, moment in _heard)


atexit.register(_write)

if HEARD:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        _heard.append((instance.id, time.monotonic_ns()))

elif WAIT:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def wait(sender: Any, instance: Any, **kwargs: Any) -> None:
        await asyncio.sleep(WAIT)

else:

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save")
    async def nothing(sender: Any, instance: Any, **kwargs: Any) -> None: ...
