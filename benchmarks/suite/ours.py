"""Our side of a run, through the public API: a service with its outbox, and consumers of what it has published."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

import redis.asyncio

import edgy_bus as edgy
from benchmarks.suite.contender import Unavailable
from benchmarks.suite.place import MODEL, SERVICE, Place, rows
from edgy_bus.signals import post_save

KEYS = {"first": "a secret of the benchmark, thirty-two bytes or more"}
_FILL = 1_000
_STALLED = 20.0
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

    names = [MODEL] if count == 1 else [f"{MODEL}{number}" for number in range(count)]
    metaclass: Any = type(Row)
    return [metaclass(name, (Row,), {"__module__": __name__, "__qualname__": name}) for name in names]


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
        self.signed = signed
        self.database_url = place.schema(name)
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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
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

    async def streams(self) -> list[bytes]:
        """The streams that keep promises, in the order of their names."""
        found = [
            f"{self.prefix}:{{{SERVICE}.{model.meta.name}:{label}}}:events".encode()
            for model in self.models
            for label in range(self.bus.events.partitions)
        ]
        return sorted(found)

    async def length(self) -> int:
        pipeline = self.redis.pipeline(transaction=False)
        for key in await self.streams():
            pipeline.xlen(key)
        return sum(await pipeline.execute())

    async def multiply(self, total: int) -> None:
        """Copy what the streams hold until together they hold about `total` events."""
        streams = await self.streams()
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

    def __init__(self, service: Service, group: str) -> None:
        self._service = service
        self._group = group.encode()

    async def open(self) -> list[int | None]:
        """For every stream what the group has not finished; None where it has not come yet."""
        streams = await self._service.streams()
        pipeline = self._service.redis.pipeline(transaction=False)
        for key in streams:
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
            async with asyncio.timeout(_STALLED):
                while any(one != 0 for one in await self.open()):  # noqa: ASYNC110 - the server has no event for it
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise Unavailable(f"not everything was acknowledged within {_STALLED:g} s") from None


class Consumer:
    """A worker in this process with a receiver that only counts; every one has a group of its own, and begins at the beginning.

    `by_class` gives the receiver an instance of the model; otherwise it subscribes by name, and gets a plain record.
    """

    def __init__(
        self,
        service: Service,
        group: str,
        *,
        by_class: bool = False,
        inbox: bool = False,
        ordered: bool = True,
        batch: edgy.Batch | None = None,
        wait: float = 0.0,
        groups: int = 1,
        working: edgy.WorkerSettings | None = None,
    ) -> None:
        self.service = service
        self.group = group
        self.seen = 0
        self.first = 0.0
        self.target = 0
        self.done = asyncio.Event()
        # By class, the receiver belongs to the service of the model, which has a database.
        self.bus = edgy.Bus(
            service.place.redis.url,
            service=SERVICE if by_class else "listener",
            group=group,
            prefix=service.prefix,
            relay=False,
            signing_keys=KEYS if service.signed else None,
            working=working,
            events=service.bus.events,
        )
        self.inbox = edgy.Database(service.database_url) if inbox else None
        options: dict[str, Any] = {"ordered": ordered, "inbox": self.inbox, "batch": batch}
        names = [f"{group}-{number}" for number in range(groups)] if groups > 1 else [group]
        self.names = names
        if by_class:
            models = define(edgy.Registry(service.database_url, bus=self.bus), len(service.models))
            for model in models:
                post_save(model, name="count", **options)(self._receiver(wait, batch))
            return
        for name in names:
            for model in service.models:
                listen = self.bus.receiver(
                    f"{SERVICE}.{model.meta.name}", "post_save", name="count", group=name, **options
                )
                listen(self._receiver(wait, batch))

    def _receiver(self, wait: float, batch: edgy.Batch | None) -> Callable[..., Awaitable[None]]:
        async def count(sender: Any, **kwargs: Any) -> None:
            self._count()

        async def count_later(sender: Any, **kwargs: Any) -> None:
            await asyncio.sleep(wait)
            self._count()

        async def count_many(sender: Any, instances: Any, **kwargs: Any) -> None:
            self._count(len(instances))

        if batch is not None:
            return count_many
        return count_later if wait else count

    def _count(self, more: int = 1) -> None:
        if not self.seen:
            self.first = time.perf_counter()
        self.seen += more
        if self.seen >= self.target:
            self.done.set()

    async def _until_done(self, ending: "asyncio.Task[None]") -> None:
        """Raises `Unavailable` for a worker that handles nothing for a long time, and what ended one that has ended."""
        waiting = asyncio.create_task(self.done.wait())
        try:
            while not self.done.is_set():
                before = self.seen
                await asyncio.wait((waiting, ending), timeout=_STALLED, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    await ending
                    raise Unavailable("the worker ended by itself")
                if self.seen == before:
                    raise Unavailable(
                        f"nothing was handled for {_STALLED:g} s, after {before:,} of {self.target:,} events"
                    )
        finally:
            waiting.cancel()

    async def run(self, count: int, *, settled: bool) -> float:
        """Events by second, from the first call to the `count`-th, or with `settled` until all are acknowledged."""
        self.target = count
        async with self.bus:
            if self.inbox is not None and not self.inbox.is_connected:
                await self.inbox.connect()
            worker = self.bus.worker()
            async with worker:
                ending = asyncio.create_task(worker.wait())
                await self._until_done(ending)
                if settled:
                    for name in self.names:
                        await Progress(self.service, name).finished()
                seconds, seen = time.perf_counter() - self.first, self.seen
                await worker.stop()
                await ending
        return seen / seconds
