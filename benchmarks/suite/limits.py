"""How fast it could go at most: the server alone, and the same work by hand on a raw connection, with none of our promises."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import redis.asyncio

from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.place import Place, payload

BATCH = 500
_APPEND = "for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', 'data', ARGV[i]) end return #ARGV"


class Benchmark(Contender):
    """Redis's own tool: 100 commands in each pipeline, 50 connections."""

    key, label = "limits.redis-benchmark", "redis-benchmark -P 100 XADD"

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count

    async def setup(self) -> None:
        if shutil.which("redis-benchmark") is None:
            raise Unavailable("there is no redis-benchmark on the PATH")

    async def round(self) -> Measured:
        address = urlsplit(self._place.redis.url)
        command = [
            "redis-benchmark",
            "-h",
            address.hostname or "127.0.0.1",
            "-p",
            str(address.port or 6379),
            "-q",
        ]
        if address.password:
            command += ["-a", unquote(address.password)]
        if address.username:
            command += ["--user", unquote(address.username)]
        command += ["-P", "100", "-n", str(self._count), "--dbnum", address.path.strip("/") or "0"]
        key = self._place.prefix("limit-benchmark")
        command += ["XADD", key, "*", "data", payload(1).decode()]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        told = (await process.communicate())[0].decode()
        self._place.clear("limit-benchmark")
        found = re.findall(r"([\d.]+) requests per second", told)
        if not found:
            raise Unavailable(f"redis-benchmark said: {told[-200:]}")
        return {"rate": float(found[-1])}


class _Raw(Contender):
    """A raw connection of redis-py, with hiredis."""

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
            for one in values[first : first + BATCH]:
                pipeline.xadd(self._stream, {"data": one})
            await pipeline.execute()
        seconds = time.perf_counter() - start
        await self._client.unlink(self._stream)
        return {"rate": self._count / seconds}


class OneByOne(_Raw):
    key, label = "limits.single", "redis-py, one XADD after another"

    async def round(self) -> Measured:
        values = [payload(number) for number in range(self._count)]
        start = time.perf_counter()
        for one in values:
            await self._client.xadd(self._stream, {"data": one})
        seconds = time.perf_counter() - start
        await self._client.unlink(self._stream)
        return {"rate": self._count / seconds}


class Read(_Raw):
    """XREADGROUP, orjson for every event, one XACK for what was read."""

    def __init__(self, place: Place, count: int, page: int) -> None:
        self.key, self.label = (
            f"limits.read-{page}",
            f"XREADGROUP COUNT {page}, orjson, one XACK, raw connection",
        )
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
        self._groups += 1
        group = f"g{self._groups}"
        await self.ask("XGROUP", "CREATE", self._stream, group, "0")
        read = (
            "XREADGROUP",
            "GROUP",
            group,
            "me",
            "COUNT",
            self._page,
            "STREAMS",
            self._stream,
            ">",
        )
        seen = 0
        start = time.perf_counter()
        while reply := await self.ask(*read):
            entries = reply[0][1]
            for _, fields in entries:
                orjson.loads(fields[1])
                seen += 1
            await self.ask("XACK", self._stream, group, *(entry for entry, _ in entries))
        seconds = time.perf_counter() - start
        await self.ask("XGROUP", "DESTROY", self._stream, group)
        if seen != self._count:
            raise Unavailable(f"read {seen} of {self._count} events")
        return {"rate": seen / seconds}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        Benchmark(place, scale.bulk * 10),
        Script(place, scale.bulk),
        Pipeline(place, scale.bulk // 2),
        OneByOne(place, scale.single),
        *(Read(place, scale.backlog, page) for page in (100, 500)),
    ]
