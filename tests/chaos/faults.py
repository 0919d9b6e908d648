"""Define the faults of a run, one function for each kind.

Every fault draws from its own `Random`, so the seed determines the fault. A fault holds the lock of
the broken part until the part works again; meanwhile other faulters break other parts.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from random import Random
from typing import Protocol

from sqlalchemy import text

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker
from edgy_bus.wiring import make_broker
from tests.chaos.programs import Program
from tests.chaos.recovery import Outage
from tests.chaos.servers import PostgresServer, RedisServer
from tests.proxy import Proxy


class Place(Protocol):
    """What faults break."""

    redis: RedisServer
    proxy: Proxy
    postgres: PostgresServer | None
    database_url: str
    prefix: str
    outages: list[Outage]
    programs: dict[str, Program]

    def alone(self, what: str) -> AbstractAsyncContextManager[object]:
        """While this is open, no other fault breaks it."""
        ...

    def restart(self, name: str) -> None: ...


Fault = Callable[[Place, Random], Awaitable[bool]]
"""Whether anything was broken: there may be nothing to break yet."""


def _one_of(place: Place, draw: Random, role: str) -> str:
    return draw.choice(sorted(name for name in place.programs if name.startswith(role)))


def _tell(place: Place, kind: str, name: str) -> None:
    if name.startswith("worker"):
        place.outages.append(Outage(kind, place.programs[name].process.pid, time.time()))


async def kill(role: str, place: Place, draw: Random) -> bool:
    name = _one_of(place, draw, role)
    async with place.alone(name):
        _tell(place, "kill", name)
        place.programs[name].signal(signal.SIGKILL)
        place.programs[name].process.wait(10)
        await asyncio.sleep(draw.choice((0.0, 0.5, 2.0)))
        place.restart(name)
    return True


async def pause(role: str, place: Place, draw: Random) -> bool:
    name = _one_of(place, draw, role)
    async with place.alone(name):
        _tell(place, "pause", name)
        place.programs[name].signal(signal.SIGSTOP)
        await asyncio.sleep(draw.choice((0.3, 2.5, 4.0)))
        place.programs[name].signal(signal.SIGCONT)
    return True


async def redis_restarts(loses: str, place: Place, draw: Random) -> bool:
    async with place.alone("redis"):
        place.redis.kill()
        if loses == "everything":
            place.redis.wipe()
        elif loses == "its tail":
            place.redis.cut_tail(draw.choice((0.01, 0.1, 0.4)))
        await asyncio.sleep(draw.choice((0.0, 1.0)))
        await place.redis.start()
    return True


async def flush(place: Place, draw: Random) -> bool:
    async with place.alone("redis"):
        return bool(await place.redis.client.flushall())


async def delete(what: str, place: Place, draw: Random) -> bool:
    async with place.alone("redis"):
        keys = sorted(
            [key async for key in place.redis.client.scan_iter(f"{place.prefix}:*:events")]
        )
        if not keys:
            return False
        key = draw.choice(keys)
        if what == "a group":
            return bool(
                await place.redis.client.xgroup_destroy(key, draw.choice(("ledger", "mail")))
            )
        if what == "an epoch":
            key = key.removesuffix(b":events") + b":epoch"
        return bool(await place.redis.client.delete(key))


async def fill(place: Place, draw: Random) -> bool:
    async with place.alone("redis"):
        await place.redis.client.config_set("maxmemory", 1_000_000)
        try:
            await asyncio.sleep(draw.uniform(0.5, 3.0))
        finally:
            await place.redis.client.config_set("maxmemory", 0)
    return True


async def cut(place: Place, draw: Random) -> bool:
    async with place.alone("proxy"):
        await place.proxy.shut()
        await asyncio.sleep(draw.uniform(0.0, 2.0))
        place.proxy.open()
    return True


async def hold(place: Place, draw: Random) -> bool:
    async with place.alone("proxy"):
        place.proxy.hold()
        await asyncio.sleep(draw.uniform(0.5, 7.0))
        place.proxy.let_flow()
    return True


async def database_cuts(place: Place, draw: Random) -> bool:
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND application_name = 'chaos'"
    )
    url = place.database_url.replace("application_name=chaos", "application_name=runner")
    async with place.alone("database"), edgy.Database(url) as runner:
        return bool((await runner.run(text(query))).rows)


async def database_restarts(place: Place, draw: Random) -> bool:
    assert place.postgres is not None
    async with place.alone("database"):
        if draw.random() < 0.5:
            await asyncio.to_thread(place.postgres.kill)
        else:
            await asyncio.to_thread(place.postgres.stop_at_once)
        await asyncio.sleep(draw.choice((0.0, 1.0, 3.0)))
        await place.postgres.start()
    return True


RECEIVERS = {"ledger": "write", "mail": "hear"}


async def receiver_paused(place: Place, draw: Random) -> bool:
    """Pause a receiver as an operator does, who resumes it, or not before its pause ends."""
    group = draw.choice(sorted(RECEIVERS))
    seconds, resumes = draw.uniform(0.5, 5.0), draw.random() < 0.7
    async with place.alone(f"the receiver of {group}"), _broker(place) as broker:
        await broker.pause(group, seconds, "chaos", receiver=RECEIVERS[group])
        await asyncio.sleep(seconds / 2 if resumes else seconds)
        if resumes:
            await broker.resume(group, receiver=RECEIVERS[group])
    return True


async def canary(place: Place, draw: Random) -> bool:
    """Run a program of the same groups that lacks their receivers, and has another one."""
    async with place.alone("canary2"), _broker(place) as broker:
        place.restart("canary2")
        await asyncio.sleep(draw.uniform(2.0, 6.0))
        program = place.programs.pop("canary2")
        program.signal(draw.choice((signal.SIGTERM, signal.SIGKILL)))
        await asyncio.to_thread(program.process.wait, 30)
        # An operator cleans up: streams would never be trimmed again.
        for group in RECEIVERS:
            await broker.dismiss(group, "look")
    return True


@asynccontextmanager
async def _broker(place: Place) -> AsyncIterator[Broker]:
    broker = make_broker(place.redis.url, place.prefix)
    try:
        yield broker
    finally:
        await broker.close()


DATABASE_CUTS, DATABASE_RESTARTS = "the database cuts", "the database restarts"

FAULTS: Mapping[str, Fault] = {
    "kill service": partial(kill, "service"),
    "kill worker": partial(kill, "worker"),
    "pause service": partial(pause, "service"),
    "pause worker": partial(pause, "worker"),
    "redis starts again": partial(redis_restarts, "nothing"),
    "redis starts empty": partial(redis_restarts, "everything"),
    "redis loses its tail": partial(redis_restarts, "its tail"),
    "flushall": flush,
    "delete a stream": partial(delete, "a stream"),
    "delete an epoch": partial(delete, "an epoch"),
    "destroy a group": partial(delete, "a group"),
    "memory is full": fill,
    "connections are cut": cut,
    "nothing passes": hold,
    "a receiver is paused": receiver_paused,
    "a program lacks the receivers": canary,
    DATABASE_CUTS: database_cuts,
    DATABASE_RESTARTS: database_restarts,
}
