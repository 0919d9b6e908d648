"""From the commit of a row to the receiver in another process, at 200 rows a second; and by hand.

The time begins when the operation returns. By hand means: a statement that inserts the row and an
outbox row and notifies; a task of the writing process that listens, reads pending rows, appends
them with XADD and marks them; another process that waits with XREADGROUP and acknowledges.
"""

import asyncio
import math
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import redis.asyncio

from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place, connect, payload, rows
from benchmarks.suite.processes import running, settled, workers

RATE = 200
_WARM = 100
"""Rows before the rows that count."""
_IN_FLIGHT = 1.0
"""Seconds after the last row: an event that needs longer fails the round."""


async def paced(insert: Callable[[int], Awaitable[Any]], count: int) -> dict[int, int]:
    """Insert at `RATE`. Returns the key of each row and the nanosecond after its commit."""
    committed: dict[int, int] = {}
    due = time.perf_counter()
    for number in range(count + _WARM):
        key = await insert(number)
        if number >= _WARM:
            committed[key] = time.monotonic_ns()
        # After a slow insert the pace goes on from there: a burst would measure queues.
        due = max(due + 1 / RATE, time.perf_counter() - 1 / RATE)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    return committed


def compare(committed: dict[int, int], received: Path) -> Measured:
    """Return quantiles of the times between. Raises `Unavailable` if an event is missing."""
    moments: dict[int, int] = {}
    for line in received.read_text().splitlines():
        key, moment = map(int, line.split())
        moments.setdefault(key, moment)
    lost = committed.keys() - moments.keys()
    if lost:
        raise Unavailable(f"{len(lost)} of {len(committed)} events were not received")
    waits = sorted(moments[key] - moment for key, moment in committed.items())
    return {"p50": _quantile(waits, 0.5) / 1e6, "p99": _quantile(waits, 0.99) / 1e6}


def _quantile(values: list[int], share: float) -> int:
    """Return a quantile of sorted values."""
    return values[math.ceil(len(values) * share) - 1]


class Ours(Contender):
    key = "latency.ours"
    label = "create() with its outbox row, relay in the service, edgy-bus worker"

    def __init__(self, place: Place, count: int, most: int = 3) -> None:
        self._place, self._count, self.most = place, count, most
        self._rounds = 0

    async def round(self) -> Measured:
        self._rounds += 1
        received = self._place.folder / f"received-{self._rounds}"
        async with Service(self._place, "latency") as service:
            [relay] = service.bus.relays()
            async with relay, workers(service, "latency", received=str(received)):
                await settled(service, "latency", 1)
                committed = await paced(self._inserting(service), self._count)
                await asyncio.sleep(_IN_FLIGHT)
        return compare(committed, received)

    def _inserting(self, service: Service) -> Callable[[int], Awaitable[int]]:
        [model] = service.models
        values = rows(self._count + _WARM)

        async def insert(number: int) -> int:
            return int((await model.query.create(**values[number])).id)

        return insert


_TABLES = """
CREATE TABLE chain_row (id bigserial PRIMARY KEY, data text NOT NULL);
CREATE TABLE chain_outbox (
    id bigserial PRIMARY KEY,
    row_id bigint NOT NULL,
    data text NOT NULL,
    published boolean NOT NULL DEFAULT false
);
CREATE INDEX ON chain_outbox (id) WHERE NOT published
"""
_CHAIN = """
WITH made AS (INSERT INTO chain_row (data) VALUES ($1) RETURNING id, data),
     noted AS (INSERT INTO chain_outbox (row_id, data) SELECT id, data FROM made)
SELECT id, pg_notify($2, '') FROM made
"""
_PENDING = "SELECT id, row_id, data FROM chain_outbox WHERE NOT published ORDER BY id LIMIT 500"
_MARK = "UPDATE chain_outbox SET published = true WHERE id = ANY($1::bigint[])"


class ByHand(Contender):
    key, label = "latency.by-hand", "INSERT + NOTIFY, XADD, XREADGROUP by hand"

    def __init__(self, place: Place, count: int, most: int = 3) -> None:
        self._place, self._count, self.most = place, count, most
        self._rounds = 0
        self._stack = AsyncExitStack()

    async def setup(self) -> None:
        url = self._place.schema("chain")
        self._stack.callback(self._place.drop, url)
        self._channel = url.rpartition("schema=")[2]
        self._writer, self._relay = await self._connect(url), await self._connect(url)
        await self._writer.execute(_TABLES)
        self._redis: Any = redis.asyncio.Redis.from_url(self._place.redis.url)
        self._stack.push_async_callback(self._redis.aclose)

    async def _connect(self, url: str) -> Any:
        connection = await connect(url)
        self._stack.push_async_callback(connection.close)
        return connection

    async def teardown(self) -> None:
        await self._stack.aclose()

    async def round(self) -> Measured:
        self._rounds += 1
        received = self._place.folder / f"chain-{self._rounds}"
        stream = f"{self._place.prefix('chain')}:events"
        await self._redis.delete(stream)
        await self._redis.xgroup_create(stream, "g", "0", mkstream=True)
        script = str(Path(__file__).with_name("chain.py"))
        command = [sys.executable, script, self._place.redis.url, stream, str(received)]
        async with running(command, {}, self._place.folder / "chain.log"):
            await self._consuming(stream)
            relay = asyncio.create_task(self._publish(stream))
            try:
                committed = await paced(self._inserting(), self._count)
                await asyncio.sleep(_IN_FLIGHT)
            finally:
                relay.cancel()
                await asyncio.gather(relay, return_exceptions=True)
        return compare(committed, received)

    def _inserting(self) -> Callable[[int], Awaitable[int]]:
        values = [payload(number).decode() for number in range(self._count + _WARM)]

        async def insert(number: int) -> int:
            row = await self._writer.fetchrow(_CHAIN, values[number], self._channel)
            return int(row["id"])

        return insert

    async def _consuming(self, stream: str) -> None:
        """Wait for the consumer. An empty read registers no consumer, so entries are needed."""
        while not await self._redis.xinfo_consumers(stream, "g"):
            await self._redis.xadd(stream, {"row": "-1", "data": "{}"})
            await asyncio.sleep(0.05)

    async def _publish(self, stream: str) -> None:
        news = asyncio.Event()
        await self._relay.add_listener(self._channel, lambda *_: news.set())
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
                await self._relay.execute(_MARK, [row["id"] for row in pending])
        finally:
            await self._relay.reset()


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        Ours(place, scale.latency, scale.latency_rounds),
        ByHand(place, scale.latency, scale.latency_rounds),
    ]
