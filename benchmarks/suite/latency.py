"""From the commit of a row to the receiver in another process, at 200 rows a second; and the same by hand.

The commit counts from the moment at which the operation returned. By hand means: one statement that inserts the row and an outbox row
and notifies; a task of the writing process that listens, reads what is pending, appends it with XADD and marks it; another
process that waits with XREADGROUP and acknowledges.
"""

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import redis.asyncio

from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place, payload, rows
from benchmarks.suite.processes import running, settled, workers

RATE = 200
_WARM = 100
"""Rows before those that count."""


async def paced(insert: Callable[[int], Awaitable[Any]], count: int) -> dict[int, int]:
    """Insert at `RATE`; key of each row to the nanosecond at which it was committed. A late one is not made up for by a rush."""
    committed: dict[int, int] = {}
    due = time.perf_counter()
    for number in range(count + _WARM):
        key = await insert(number)
        if number >= _WARM:
            committed[key] = time.monotonic_ns()
        due = max(due + 1 / RATE, time.perf_counter() - 1 / RATE)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return committed


def compare(committed: dict[int, int], heard: Path) -> Measured:
    """The quantiles of what lies between; an event that was not heard is a failure."""
    moments: dict[int, int] = {}
    for line in heard.read_text().splitlines():
        key, moment = map(int, line.split())
        moments.setdefault(key, moment)
    lost = committed.keys() - moments.keys()
    if lost:
        raise Unavailable(f"{len(lost)} of {len(committed)} events were not heard of")
    waits = sorted((moments[key] - moment) / 1e6 for key, moment in committed.items())
    return {"p50": _quantile(waits, 0.5), "p99": _quantile(waits, 0.99)}


def _quantile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, math.ceil(len(values) * share) - 1)]


class Ours(Contender):
    key, label = (
        "latency.ours",
        "create() with its outbox row, relay in the service, edgy-bus worker",
    )
    most = 3

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count
        self._rounds = 0

    async def round(self) -> Measured:
        self._rounds += 1
        heard = self._place.folder / f"heard-{self._rounds}"
        async with Service(self._place, "latency") as service:
            [model] = service.models
            values = rows(self._count + _WARM)
            [relay] = service.bus.relays()
            async with relay:

                async def insert(number: int) -> int:
                    return int((await model.query.create(**values[number])).id)

                async with workers(service, "latency", heard=str(heard)):
                    await settled(service, "latency", 1)
                    committed = await paced(insert, self._count)
                    await asyncio.sleep(
                        1
                    )  # what is on its way; whatever needs longer fails the round
        return compare(committed, heard)


_CHAIN = """
WITH made AS (INSERT INTO chain_row (data) VALUES ($1) RETURNING id, data),
     noted AS (INSERT INTO chain_outbox (row_id, data) SELECT id, data FROM made)
SELECT id, pg_notify($2, '') FROM made
"""
_PENDING = "SELECT id, row_id, data FROM chain_outbox WHERE NOT published ORDER BY id LIMIT 500"


class ByHand(Contender):
    key, label = "latency.by-hand", "INSERT + NOTIFY, XADD, XREADGROUP by hand"
    most = 3

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count
        self._rounds = 0
        self._stack = AsyncExitStack()

    async def setup(self) -> None:
        url = self._place.schema("chain")
        self._stack.callback(self._place.drop, url)
        address, _, self._schema = url.rpartition("schema=")
        self._address = address.rstrip("?&")
        self._writer, self._relay = await self._connect(), await self._connect()
        await self._writer.execute(
            "CREATE TABLE chain_row (id bigserial PRIMARY KEY, data text NOT NULL);"
            "CREATE TABLE chain_outbox (id bigserial PRIMARY KEY, row_id bigint NOT NULL, data text NOT NULL,"
            " published boolean NOT NULL DEFAULT false);"
            "CREATE INDEX ON chain_outbox (id) WHERE NOT published"
        )
        self._redis: Any = redis.asyncio.Redis.from_url(self._place.redis.url)
        self._stack.push_async_callback(self._redis.aclose)

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(
            self._address, server_settings={"search_path": self._schema}
        )
        self._stack.push_async_callback(connection.close)
        return connection

    async def teardown(self) -> None:
        await self._stack.aclose()

    async def round(self) -> Measured:
        self._rounds += 1
        heard = self._place.folder / f"chain-{self._rounds}"
        stream = f"{self._place.prefix('chain')}:events"
        await self._redis.delete(stream)
        await self._redis.xgroup_create(stream, "g", "0", mkstream=True)
        command = [
            sys.executable,
            str(Path(__file__).with_name("chain.py")),
            self._place.redis.url,
            stream,
            str(heard),
        ]
        values = [payload(number).decode() for number in range(self._count + _WARM)]

        async def insert(number: int) -> int:
            return int((await self._writer.fetchrow(_CHAIN, values[number], self._schema))["id"])

        async with running(command, {}, self._place.folder / "chain.log"):
            while not await self._redis.xinfo_consumers(stream, "g"):
                await self._redis.xadd(
                    stream, {"row": "-1", "data": "{}"}
                )  # an empty read does not make a consumer known
                await asyncio.sleep(0.05)
            relay = asyncio.create_task(self._work(stream))
            try:
                committed = await paced(insert, self._count)
                await asyncio.sleep(1)
            finally:
                relay.cancel()
                await asyncio.gather(relay, return_exceptions=True)
        return compare(committed, heard)

    async def _work(self, stream: str) -> None:
        news = asyncio.Event()
        await self._relay.add_listener(self._schema, lambda *_: news.set())
        try:
            while True:
                news.clear()
                pending = await self._relay.fetch(_PENDING)
                if not pending:
                    await news.wait()
                    continue
                pipeline = self._redis.pipeline(transaction=False)
                for row in pending:
                    pipeline.xadd(stream, {"row": str(row["row_id"]), "data": row["data"]})
                await pipeline.execute()
                await self._relay.execute(
                    "UPDATE chain_outbox SET published = true WHERE id = ANY($1::bigint[])",
                    [row["id"] for row in pending],
                )
        finally:
            await self._relay.reset()


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [Ours(place, scale.latency), ByHand(place, scale.latency)]
