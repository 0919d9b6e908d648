"""Thousands of held rows, and of entries that a process left unfinished."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import edgy_bus as edgy
from benchmarks.ordinary.goal import Figure
from benchmarks.suite.internals import collect_less
from benchmarks.suite.ours import Progress, Service
from benchmarks.suite.place import MODEL, SERVICE, Place
from edgy_bus.testing.servers import Source, find_redis

_HELD, _UNFINISHED = 10_000, 100_000
_WATCHED = 15.0


def strange(place: Place) -> list[Figure]:
    """Measure with a server of its own, whose log of slow commands is ours."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        return asyncio.run(_strange(replace(place, redis=server)))


async def _strange(place: Place) -> list[Figure]:
    async with Service(place, "held") as service:
        await service.redis.config_set("slowlog-log-slower-than", 1_000)
        await service.backlog(_HELD)
        await _hold_all(service)
        await service.redis.slowlog_reset()
        stop = await _longest_stop(service)
        held = await _slowest(service)
    async with Service(place, "unfinished") as service:
        await service.backlog(_UNFINISHED)
        await _leave_unfinished(service)
        await service.redis.slowlog_reset()
        took = await _take_over(service)
        unfinished = await _slowest(service)
    return [
        Figure(f"longest turn of the loop with {_HELD:,} held rows (CPU)", stop, 10, "ms"),
        Figure(f"slowest script with {_HELD:,} held rows", held, 5, "ms"),
        Figure(f"slowest script while {_UNFINISHED:,} entries are taken over", unfinished, 5, "ms"),
        Figure(f"{_UNFINISHED:,} entries are taken over and handled", took, 30, "s"),
    ]


def _bus(service: Service, group: str, *, fails: bool = False) -> edgy.Bus:
    bus = edgy.Bus(service.place.redis.url, prefix=service.prefix, service="reader")
    options: dict[str, Any] = {
        "retry": edgy.Retry(attempts=1),
        "on_exhausted": "hold",
        "breaker": None,
    }

    @bus.receiver(
        f"{SERVICE}.{MODEL}", "post_save", group=group, name="read", start="kept", **options
    )
    async def read(sender: Any, instance: Any, **kwargs: object) -> None:
        if fails:
            raise ValueError("no row is handled")

    return bus


async def _hold_all(service: Service) -> None:
    bus = _bus(service, "hold", fails=True)
    async with bus, bus.worker():
        async with asyncio.timeout(300):
            while len(await bus.held("hold")) < _HELD:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.5)


async def _longest_stop(service: Service) -> float:
    """Return milliseconds of CPU between two turns of a worker's loop, from its start."""
    bus, longest = _bus(service, "hold"), 0.0

    async def watch() -> None:
        nonlocal longest
        used = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, used = max(longest, now - used), now

    # As in the programs of the command line.
    collect_less()
    async with bus:
        watching = asyncio.create_task(watch())
        async with bus.worker():
            await asyncio.sleep(_WATCHED)
            watching.cancel()
    return 1e3 * longest


async def _leave_unfinished(service: Service) -> None:
    """Read every entry as a process does that is killed before it handles any."""
    for stream in service.streams.keys:
        await service.redis.xgroup_create(stream, "left", "0")
        while await service.redis.xreadgroup("left", "1.gone.1", {stream: ">"}, 10_000):
            pass


async def _take_over(service: Service) -> float:
    bus, client = _bus(service, "left"), service.redis
    began = time.perf_counter()
    async with bus, bus.worker():
        progress = Progress(service.streams, client, "left")
        async with asyncio.timeout(300):
            while any(await progress.open()):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.2)
    return time.perf_counter() - began


async def _slowest(service: Service) -> float:
    """Return milliseconds of the slowest command since the log was emptied."""
    log = await service.redis.slowlog_get(128)
    return max((entry["duration"] / 1e3 for entry in log), default=0.0)
