"""Exactly-once effects by hand: an inbox on raw asyncpg behind raw XREADGROUP.

Each stream has a task with connections of its own to Redis and PostgreSQL, so that a row's events
keep their order. The task reads a page, then opens a transaction for each event, or for the page.
In a transaction the inbox takes the row's sequence if it is greater than the last sequence. The
page is acknowledged after its commits.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import orjson
import redis.asyncio

from benchmarks.suite.contender import Contender, Measured, Unavailable
from benchmarks.suite.place import Place, connect, payload

STREAMS, PAGE = 8, 100
_PASSES = 5
"""Passes over all events in a round: a pass alone is short."""

_TABLE = """
CREATE TABLE inbox_by_hand (
    receiver text NOT NULL,
    row_id bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (receiver, row_id)
)
"""
_TAKE = """
INSERT INTO inbox_by_hand (receiver, row_id, sequence) VALUES ($1, $2, $3)
ON CONFLICT (receiver, row_id) DO UPDATE SET sequence = excluded.sequence
WHERE inbox_by_hand.sequence < excluded.sequence RETURNING row_id
"""
_TAKE_PAGE = """
INSERT INTO inbox_by_hand (receiver, row_id, sequence)
SELECT $1, row_id, sequence FROM unnest($2::bigint[], $3::bigint[]) AS event (row_id, sequence)
ON CONFLICT (receiver, row_id) DO UPDATE SET sequence = excluded.sequence
WHERE inbox_by_hand.sequence < excluded.sequence RETURNING row_id
"""

Entry = tuple[bytes, dict[bytes, bytes]]


class _Reader:
    """Consume a stream."""

    def __init__(self, stream: str, client: Any, connection: Any) -> None:
        self.stream = stream
        self.client = client
        self.connection = connection
        self.effects = 0
        """Events that the inbox took: here a receiver would write."""

    async def consume(self, group: str, *, batches: bool) -> None:
        handle = self._batch if batches else self._single
        streams = {self.stream: ">"}
        while reply := await self.client.xreadgroup(group, "consumer", streams, count=PAGE):
            [(_, entries)] = reply
            await handle(group, entries)
            await self.client.xack(self.stream, group, *(entry for entry, _ in entries))

    async def _single(self, group: str, entries: Sequence[Entry]) -> None:
        for _, fields in entries:
            event = orjson.loads(fields[b"data"])
            sequence = int(fields[b"sequence"])
            async with self.connection.transaction():
                taken = await self.connection.fetchval(_TAKE, group, event["id"], sequence)
                self.effects += taken is not None

    async def _batch(self, group: str, entries: Sequence[Entry]) -> None:
        # A statement may change a row once: of a row's events the last counts.
        latest = {}
        for _, fields in entries:
            event = orjson.loads(fields[b"data"])
            latest[event["id"]] = int(fields[b"sequence"])
        async with self.connection.transaction():
            taken = await self.connection.fetch(_TAKE_PAGE, group, list(latest), [*latest.values()])
            self.effects += len(taken)


class InboxByHand(Contender):
    """Handle `count` events of as many rows, from the beginning of the streams in each round."""

    def __init__(self, place: Place, count: int, key: str, label: str, *, batches: bool) -> None:
        self.key, self.label = key, label
        self._place, self._count, self._batches = place, count, batches
        self._stack = AsyncExitStack()
        self._readers: list[_Reader] = []
        self._passes = 0

    async def setup(self) -> None:
        name = self.key.replace(".", "-")
        url = self._place.schema(name)
        self._stack.callback(self._place.drop, url)
        prefix = self._place.prefix(name)
        for number in range(STREAMS):
            self._readers.append(await self._reader(f"{prefix}-{number}:events", url))
        await self._readers[0].connection.execute(_TABLE)
        for number, reader in enumerate(self._readers):
            await self._fill(reader, range(number, self._count, STREAMS))

    async def _reader(self, stream: str, url: str) -> _Reader:
        client: Any = redis.asyncio.Redis.from_url(
            self._place.redis.url, protocol=2, single_connection_client=True
        )
        self._stack.push_async_callback(client.aclose)
        self._stack.push_async_callback(client.unlink, stream)
        connection = await connect(url)
        self._stack.push_async_callback(connection.close)
        return _Reader(stream, client, connection)

    async def _fill(self, reader: _Reader, numbers: range) -> None:
        pipeline = reader.client.pipeline(transaction=False)
        for number in numbers:
            pipeline.xadd(reader.stream, {"sequence": number + 1, "data": payload(number)})
        await pipeline.execute()

    async def teardown(self) -> None:
        await self._stack.aclose()

    async def round(self) -> Measured:
        seconds = [await self._pass() for _ in range(_PASSES)]
        return {"rate": self._count * _PASSES / sum(seconds)}

    async def _pass(self) -> float:
        """Handle all events in a new group. Returns the seconds."""
        self._passes += 1
        group = f"g{self._passes}"
        for reader in self._readers:
            reader.effects = 0
            await reader.client.xgroup_create(reader.stream, group, "0")
        start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for reader in self._readers:
                tasks.create_task(reader.consume(group, batches=self._batches))
        seconds = time.perf_counter() - start
        effects = sum(reader.effects for reader in self._readers)
        if effects != self._count:
            raise Unavailable(f"{effects} effects of {self._count} events")
        return seconds
