"""Upper limits: the server alone, and the work by hand on a raw connection, without promises."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import redis.asyncio

from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.place import Place, connect, payload

BATCH = 500
_PASSES = 4
"""Passes of reading in a round: a pass lasts a tenth of a second, and any other program shows."""
_APPEND = "for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', 'data', ARGV[i]) end return #ARGV"


class Benchmark(Contender):
    """Run Redis's own tool: 100 commands in each pipeline, 50 connections."""

    key, label = "limits.redis-benchmark", "redis-benchmark -P 100 XADD"

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count

    async def setup(self) -> None:
        if shutil.which("redis-benchmark") is None:
            raise Unavailable("there is no redis-benchmark on the PATH")

    async def round(self) -> Measured:
        process = await asyncio.create_subprocess_exec(
            *self._command(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await process.communicate())[0].decode()
        self._place.clear("limit-benchmark")
        rates = re.findall(r"([\d.]+) requests per second", output)
        if not rates:
            raise Unavailable(f"redis-benchmark printed: {output[-200:]}")
        return {"rate": float(rates[-1])}

    def _command(self) -> list[str]:
        address = urlsplit(self._place.redis.url)
        command = ["redis-benchmark", "-q", "-P", "100", "-n", str(self._count)]
        command += ["-h", address.hostname or "127.0.0.1", "-p", str(address.port or 6379)]
        if address.password:
            command += ["-a", unquote(address.password)]
        if address.username:
            command += ["--user", unquote(address.username)]
        command += ["--dbnum", address.path.strip("/") or "0"]
        key = self._place.prefix("limit-benchmark")
        return [*command, "XADD", key, "*", "data", payload(1).decode()]


class _Raw(Contender):
    """Hold a raw connection of redis-py, with hiredis."""

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count
        self._stream = f"{place.prefix(self.key.replace('.', '-'))}:events"
        self._pool: Any = None
        self._client: Any = None

    async def setup(self) -> None:
        self._client = redis.asyncio.Redis.from_url(
            self._place.redis.url, protocol=2, single_connection_client=True
        )
        await self._client.initialize()
        self._connection = self._client.connection

    async def teardown(self) -> None:
        if self._client is not None:
            await self._client.unlink(self._stream)
            await self._client.aclose()

    async def ask(self, *command: Any) -> Any:
        await self._connection.send_command(*command)
        return await self._connection.read_response(disable_decoding=True)

    async def append(self, digest: Any, values: list[bytes]) -> None:
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            await self.ask("EVALSHA", digest, 1, self._stream, *batch)


class Script(_Raw):
    key, label = "limits.script", f"one script for {BATCH} XADD, raw connection"

    async def round(self) -> Measured:
        values = [payload(number) for number in range(self._count)]
        digest = await self.ask("SCRIPT", "LOAD", _APPEND)
        start = time.perf_counter()
        await self.append(digest, values)
        seconds = time.perf_counter() - start
        await self._client.unlink(self._stream)
        return {"rate": self._count / seconds}


class Pipeline(_Raw):
    key, label = "limits.pipeline", f"redis-py, pipeline of {BATCH} XADD"

    async def round(self) -> Measured:
        values = [payload(number) for number in range(self._count)]
        start = time.perf_counter()
        for first in range(0, len(values), BATCH):
            pipeline = self._client.pipeline(transaction=False)
            for value in values[first : first + BATCH]:
                pipeline.xadd(self._stream, {"data": value})
            await pipeline.execute()
        seconds = time.perf_counter() - start
        await self._client.unlink(self._stream)
        return {"rate": self._count / seconds}


class OneByOne(_Raw):
    key, label = "limits.single", "redis-py, one XADD after another"

    async def round(self) -> Measured:
        values = [payload(number) for number in range(self._count)]
        start = time.perf_counter()
        for value in values:
            await self._client.xadd(self._stream, {"data": value})
        seconds = time.perf_counter() - start
        await self._client.unlink(self._stream)
        return {"rate": self._count / seconds}


class Read(_Raw):
    """Read a stream: XREADGROUP, orjson for every event, an XACK for each page."""

    def __init__(self, place: Place, count: int, page: int) -> None:
        self.key = f"limits.read-{page}"
        self.label = f"XREADGROUP COUNT {page}, orjson, one XACK, raw connection"
        super().__init__(place, count)
        self._page = page
        self._groups = 0

    async def setup(self) -> None:
        await super().setup()
        await self.append(
            await self.ask("SCRIPT", "LOAD", _APPEND),
            [payload(number) for number in range(self._count)],
        )

    async def round(self) -> Measured:
        seconds = [await self._pass() for _ in range(_PASSES)]
        return {"rate": self._count * _PASSES / sum(seconds)}

    async def _pass(self) -> float:
        """Read the whole stream in a new group. Returns the seconds."""
        self._groups += 1
        group = f"g{self._groups}"
        await self.ask("XGROUP", "CREATE", self._stream, group, "0")
        start = time.perf_counter()
        count = await self._read(group)
        seconds = time.perf_counter() - start
        await self.ask("XGROUP", "DESTROY", self._stream, group)
        if count != self._count:
            raise Unavailable(f"read {count} of {self._count} events")
        return seconds

    async def _read(self, group: str) -> int:
        read = ("XREADGROUP", "GROUP", group, "me", "COUNT", self._page)
        count = 0
        while reply := await self.ask(*read, "STREAMS", self._stream, ">"):
            entries = reply[0][1]
            for _, fields in entries:
                orjson.loads(fields[1])
                count += 1
            await self.ask("XACK", self._stream, group, *(entry for entry, _ in entries))
        return count


_OUTBOX = """
CREATE TABLE outbox_by_hand (
    id bigserial PRIMARY KEY, data text NOT NULL, published boolean NOT NULL DEFAULT false
);
CREATE INDEX ON outbox_by_hand (id) WHERE NOT published
"""
_FILL = "INSERT INTO outbox_by_hand (data) SELECT unnest($1::text[])"
_PENDING = "SELECT id, data FROM outbox_by_hand WHERE NOT published ORDER BY id LIMIT $1"
_MARK = "UPDATE outbox_by_hand SET published = true WHERE id = ANY($1::bigint[])"


class Pages(Contender):
    """Read and mark an outbox by hand, in pages: PostgreSQL's part of a relay's work."""

    key, label = "limits.pages", "an outbox on PostgreSQL read and marked in pages, raw asyncpg"

    def __init__(self, place: Place, count: int, page: int = 5_000) -> None:
        self._place, self._count, self._page = place, count, page
        self._stack = AsyncExitStack()

    async def setup(self) -> None:
        url = self._place.schema("limit-pages")
        self._stack.callback(self._place.drop, url)
        self._connection = await connect(url)
        self._stack.push_async_callback(self._connection.close)
        await self._connection.execute(_OUTBOX)

    async def teardown(self) -> None:
        await self._stack.aclose()

    async def round(self) -> Measured:
        values = [payload(number).decode() for number in range(self._count)]
        await self._connection.execute("TRUNCATE outbox_by_hand")
        await self._connection.execute(_FILL, values)
        start = time.perf_counter()
        while page := await self._connection.fetch(_PENDING, self._page):
            await self._connection.execute(_MARK, [row["id"] for row in page])
        return {"rate": self._count / (time.perf_counter() - start)}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        Benchmark(place, scale.bulk * 10),
        Script(place, scale.bulk),
        Pipeline(place, scale.bulk // 2),
        OneByOne(place, scale.single),
        *(Read(place, scale.backlog, page) for page in (100, 500)),
        Pages(place, scale.bulk),
    ]
