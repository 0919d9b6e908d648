"""Our side of a run, through the public API: a service with its outbox, and groups' progress."""

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
"""Seconds without a handled event, or until the last acknowledgement, that fail a round."""
_COPIED = 5_000
"""Entries that a call of the copying script writes: the server is blocked meanwhile."""

# Appends copies of a stream's entries until the stream holds ARGV[1] entries. Each copy gets a new
# event id, because consumers drop repeated events. ARGV[2] is the number of the run's next copy.
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
    """Define models whose rows are the run's events. A single model is called `MODEL`."""
    models_registry = registry

    class Row(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)
        email: str = edgy.CharField(max_length=100)
        is_verified: bool = edgy.BooleanField(default=False)
        about: str = edgy.CharField(max_length=400)

        class Meta:
            registry = models_registry
            abstract = True

    metaclass: Any = type(Row)
    return [
        metaclass(name, (Row,), {"__module__": __name__, "__qualname__": name})
        for name in names_of(count)
    ]


@dataclass(frozen=True)
class Streams:
    """Describe the streams of a service to a consumer, which may be another process."""

    redis_url: str
    database_url: str
    prefix: str
    models: int
    partitions: int
    signed: bool

    @property
    def tags(self) -> list[str]:
        """The beginning of all keys of each partition, in order."""
        return sorted(
            f"{self.prefix}:{{{SERVICE}.{name}:{partition}}}"
            for name in names_of(self.models)
            for partition in range(self.partitions)
        )

    @property
    def keys(self) -> list[bytes]:
        """The streams of `post_*` events."""
        return [f"{tag}:events".encode() for tag in self.tags]

    def leases(self, group: str) -> list[str]:
        """The keys of a group's leases, which name the worker of each partition."""
        return [f"{tag}:lease:{group}" for tag in self.tags]


class Service:
    """Run a service with models of 300-byte rows, in a schema and under a key prefix of its own."""

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
        """Put `count` events into the outbox with `bulk_create`, in equal parts for every model."""
        share, more = divmod(count, len(self.models))
        for number, model in enumerate(self.models):
            values = rows(share + (number < more))
            for start in range(0, len(values), _FILL):
                await model.query.bulk_create(values[start : start + _FILL])

    async def drain(self, count: int) -> float:
        """Let the relay publish `count` events. Returns the seconds until the last mark."""
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
            await relay.stop()  # finishes the current step: the mark of the last page
        return time.perf_counter() - start

    async def length(self) -> int:
        pipeline = self.redis.pipeline(transaction=False)
        for key in self.streams.keys:
            pipeline.xlen(key)
        return sum(await pipeline.execute())

    async def multiply(self, total: int) -> None:
        """Append copies of their entries to the streams, up to about `total` events together."""
        streams = self.streams.keys
        copy = self.redis.register_script(_COPY)
        number = 0
        for position, key in enumerate(streams):
            begin, end = total * position, total * (position + 1)
            wanted = end // len(streams) - begin // len(streams)
            length = 0
            while length < wanted:
                length, number = await copy(keys=[key], args=[wanted, number, _COPIED])

    async def backlog(self, total: int, base: int = 10_000) -> None:
        """Fill the streams with `total` events: `base` events through the outbox, and copies."""
        first = min(total, base)
        await self.fill(first)
        await self.drain(first)
        if total > first:
            await self.multiply(total)


class Progress:
    """Observe a group's progress in Redis, without its workers."""

    def __init__(self, streams: Streams, client: Any, group: str) -> None:
        self.streams = streams
        self._client = client
        self._group = group.encode()

    async def open(self) -> list[int | None]:
        """Return the unfinished events of each stream; None for a stream without the group."""
        pipeline = self._client.pipeline(transaction=False)
        for key in self.streams.keys:
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

    async def _all_done(self) -> bool:
        # A stream without the group is unfinished: None is not 0.
        return all(count == 0 for count in await self.open())

    async def finished(self) -> None:
        """Wait until the group has acknowledged every event."""
        try:
            async with asyncio.timeout(STALLED):
                while not await self._all_done():  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise Unavailable(f"not everything was acknowledged within {STALLED:g} s") from None
