"""Our side of a run, through the public API: a service with its outbox, and how far groups are with what it has published."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import redis.asyncio

import edgy_bus as edgy
from benchmarks.suite.contender import Unavailable
from benchmarks.suite.place import MODEL, SERVICE, Place, rows

KEYS = {"first": "a secret of the benchmark, thirty-two bytes or more"}
_FILL = 1_000
STALLED = 20.0
"""Seconds in which a worker must handle something, or acknowledge what it has handled."""
_COPIED = 5_000
"""Entries that one call of the copying script writes: the server does nothing else meanwhile."""

# Copies entries of a stream behind it until it holds ARGV[1], each with an event id of its own: consumers know repeats.
# ARGV[2] is a number that no other copy of the run has.
_COPY = """
local wanted, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local written, length = 0, redis.call('XLEN', KEYS[1])
while length < wanted and written < tonumber(ARGV[3]) do
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1000)) do
    if length >= wanted then break end
    local fields = entry[2]
    local old
    for at = 1, #fields, 2 do if fields[at] == 'id' then old = fields[at + 1] end end
    local new = string.sub(old, 1, 24) .. string.format('%012x', number)
    local pattern = string.gsub(old, '%-', '%%-')
    for at = 2, #fields, 2 do fields[at] = string.gsub(fields[at], pattern, new) end
    redis.call('XADD', KEYS[1], '*', unpack(fields))
    number = number + 1; length = length + 1; written = written + 1
  end
end
return {length, number}
"""


def names_of(count: int) -> list[str]:
    return [MODEL] if count == 1 else [f"{MODEL}{number}" for number in range(count)]


def define(registry: edgy.Registry, count: int = 1) -> list[Any]:
    """Models whose rows are the run's events; a single one is called `MODEL`."""
    own = registry

    class Row(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)
        email: str = edgy.CharField(max_length=100)
        is_verified: bool = edgy.BooleanField(default=False)
        about: str = edgy.CharField(max_length=400)

        class Meta:
            registry = own
            abstract = True

    metaclass: Any = type(Row)
    return [
        metaclass(name, (Row,), {"__module__": __name__, "__qualname__": name})
        for name in names_of(count)
    ]


@dataclass(frozen=True)
class Streams:
    """What a consumer has to know of a service, in another process too."""

    redis_url: str
    database_url: str
    prefix: str
    models: int
    partitions: int
    signed: bool

    @property
    def keys(self) -> list[bytes]:
        """The streams that keep promises, in the order of their names."""
        found = [
            f"{self.prefix}:{{{SERVICE}.{name}:{label}}}:events".encode()
            for name in names_of(self.models)
            for label in range(self.partitions)
        ]
        return sorted(found)


class Service:
    """A service with models of 300-byte rows. While it is entered it has a schema and a prefix that nobody else has."""

    def __init__(
        self,
        place: Place,
        name: str,
        *,
        models: int = 1,
        signed: bool = False,
        partitions: int = 8,
        relaying: edgy.RelaySettings | None = None,
    ) -> None:
        self.place = place
        self.name = name
        self.prefix = place.prefix(name)
        self.database_url = place.schema(name)
        self.streams = Streams(
            place.redis.url, self.database_url, self.prefix, models, partitions, signed
        )
        self.bus = edgy.Bus(
            place.redis.url,
            service=SERVICE,
            prefix=self.prefix,
            relay=False,
            signing_keys=KEYS if signed else None,
            events=edgy.EventSettings(partitions=partitions),
            relaying=relaying,
        )
        self.registry = edgy.Registry(self.database_url, bus=self.bus)
        self.models = define(self.registry, models)
        self.bus.on_start(self.registry.create_all)
        self.redis: Any = redis.asyncio.Redis.from_url(place.redis.url)

    async def __aenter__(self) -> Self:
        try:
            await self.bus.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.bus.stop()
        await self.redis.aclose()
        await asyncio.to_thread(self.place.drop, self.database_url)
        await asyncio.to_thread(self.place.clear, self.name)

    async def fill(self, count: int) -> None:
        """Put `count` events into the outbox, by `bulk_create`, in equal parts for every model."""
        share, more = divmod(count, len(self.models))
        for number, model in enumerate(self.models):
            made = rows(share + (number < more))
            for start in range(0, len(made), _FILL):
                await model.query.bulk_create(made[start : start + _FILL])

    async def drain(self, count: int) -> float:
        """Let the relay publish `count` events; seconds from its start to the mark of the last."""
        target = await self.length() + count
        [relay] = self.bus.relays()
        start = time.perf_counter()
        await relay.start()
        try:
            while await self.length() < target:
                if not relay.running:
                    await relay.wait()
                await asyncio.sleep(0.005)
        finally:
            await relay.stop()  # finishes the step at which it is: the mark of the last batch
        return time.perf_counter() - start

    async def length(self) -> int:
        pipeline = self.redis.pipeline(transaction=False)
        for key in self.streams.keys:
            pipeline.xlen(key)
        return sum(await pipeline.execute())

    async def multiply(self, total: int) -> None:
        """Copy what the streams hold until together they hold about `total` events."""
        streams = self.streams.keys
        copy = self.redis.register_script(_COPY)
        number = 0
        for position, key in enumerate(streams):
            wanted = total * (position + 1) // len(streams) - total * position // len(streams)
            length = 0
            while length < wanted:
                length, number = await copy(keys=[key], args=[wanted, number, _COPIED])

    async def backlog(self, total: int, base: int = 10_000) -> None:
        """Streams that hold `total` events: `base` of them by way of the outbox, the rest copies of those."""
        first = min(total, base)
        await self.fill(first)
        await self.drain(first)
        if total > first:
            await self.multiply(total)


class Progress:
    """How far a group is, seen from outside, without asking its workers."""

    def __init__(self, streams: Streams, client: Any, group: str) -> None:
        self._keys = streams.keys
        self._client = client
        self._group = group.encode()

    async def open(self) -> list[int | None]:
        """For every stream what the group has not finished; None where it has not come yet."""
        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.xinfo_groups(key)
        answers = await pipeline.execute(raise_on_error=False)
        return [self._of(answer) for answer in answers]

    def _of(self, answer: Any) -> int | None:
        if isinstance(answer, Exception):
            return None
        for row in answer:
            if row["name"] == self._group:
                return int(row["lag"] or 0) + int(row["pending"])
        return None

    async def finished(self) -> None:
        """Wait until nothing is open."""
        try:
            async with asyncio.timeout(STALLED):
                while any(one != 0 for one in await self.open()):  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise Unavailable(f"not everything was acknowledged within {STALLED:g} s") from None
