"""How receivers and workers fare beside others: slow ones, batches, and a second worker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import edgy_bus as edgy
from benchmarks.ordinary.goal import Figure
from benchmarks.suite.ours import Service
from benchmarks.suite.place import MODEL, SERVICE, Place
from benchmarks.suite.processes import settled

_BACKLOG, _FEWER = 50_000, 16_000
_SLOW, _LONG = 0.5, 10.0
"""Seconds of a call of a slow receiver, and of one that makes a second worker wait."""
_ROWS = 64

Receiver = Callable[..., Awaitable[None]]


def neighbours(place: Place) -> list[Figure]:
    """Measure times beside a neighbour as multiples of times without one."""
    return asyncio.run(_neighbours(place))


async def _neighbours(place: Place) -> list[Figure]:
    async with Service(place, "backlog") as service:
        await service.backlog(_BACKLOG)
        alone = await _until_all(service, "alone", _BACKLOG)
        beside = await _until_all(service, "slow", _BACKLOG, slow=_waits)
    async with Service(place, "batches") as service:
        await service.backlog(_FEWER)
        single = await _until_all(service, "single", _FEWER)
        batches = await _until_all(service, "batch", _FEWER, slow=_takes_batches, batch=2_000)
    async with Service(place, "second") as service:
        await service.fill(_ROWS)
        await service.drain(_ROWS)
        await service.multiply(50 * _ROWS)
        shared = await _until_shared(service)
    return [
        Figure(
            f"{_BACKLOG:,} events, a fast receiver beside one of {_SLOW:g} s, to alone",
            beside / alone,
            3,
            "times",
        ),
        Figure(
            f"{_FEWER:,} events, a receiver beside one with `Batch(2000)` and a prefetch of 500, "
            "to alone",
            batches / single,
            3,
            "times",
        ),
        Figure(
            f"a second worker has its share of {_ROWS} rows with calls of {_LONG:g} s",
            shared,
            _LONG + 2,
            "s",
        ),
    ]


async def _waits(sender: Any, instance: Any, **kwargs: object) -> None:
    await asyncio.sleep(_SLOW)


async def _takes_batches(sender: Any, instances: Any, events: Any, **kwargs: object) -> None:
    pass


def _bus(service: Service) -> edgy.Bus:
    return edgy.Bus(service.place.redis.url, prefix=service.prefix, service="reader")


async def _until_all(
    service: Service, group: str, count: int, slow: Receiver | None = None, batch: int | None = None
) -> float:
    """Return the seconds in which a receiver of a new group gets `count` events."""
    bus, done, handled = _bus(service), asyncio.Event(), 0

    @bus.receiver(f"{SERVICE}.{MODEL}", "post_save", group=group, name="fast", start="kept")
    async def fast(sender: Any, instance: Any, **kwargs: object) -> None:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()

    if slow is not None:
        options: dict[str, Any] = {"batch": edgy.Batch(batch, 0.1)} if batch else {}
        connect = bus.receiver(
            f"{SERVICE}.{MODEL}", "post_save", group=group, name="other", start="kept", **options
        )
        connect(slow)
    # The slow receiver is left with its backlog: it need not finish.
    working = edgy.WorkerSettings(grace=1.0)
    async with bus:
        began = time.perf_counter()
        async with bus.worker(settings=working):
            async with asyncio.timeout(300):
                await done.wait()
            return time.perf_counter() - began


async def _until_shared(service: Service) -> float:
    """Return the seconds until a second worker has half of the partitions."""
    first, second = _bus(service), _bus(service)

    async def long(sender: Any, instance: Any, **kwargs: object) -> None:
        await asyncio.sleep(_LONG)

    for bus in (first, second):
        connect = bus.receiver(
            f"{SERVICE}.{MODEL}", "post_save", group="share", name="long", start="kept"
        )
        connect(long)
    settings = edgy.WorkerSettings(grace=0.1)
    async with first, second, first.worker(settings=settings):
        await settled(service, "share", 1)
        await asyncio.sleep(3.0)
        began = time.perf_counter()
        async with second.worker(settings=settings):
            await settled(service, "share", 2)
            return time.perf_counter() - began
