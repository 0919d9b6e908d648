"""Published events by second: through the relay, single signals, `pre_*` events from memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import ResponseError

import edgy_bus as edgy
from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.internals import announce, chunks_of
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place, rows


class Drain(Contender):
    """Publish and mark a full outbox on PostgreSQL. Filling the outbox does not count.

    The share of a core is the time that this process worked; the rest of the time the relay waited
    for PostgreSQL, Redis, or a core.
    """

    def __init__(
        self,
        place: Place,
        count: int,
        key: str,
        label: str,
        *,
        signed: bool = False,
        relaying: edgy.RelaySettings | None = None,
        most: int = 1_000,
    ) -> None:
        self.key, self.label, self.most = key, label, most
        self._place, self._count, self._signed = place, count, signed
        self._relaying = relaying

    async def round(self) -> Measured:
        name = self.key.replace(".", "-")
        async with Service(
            self._place, name, signed=self._signed, relaying=self._relaying
        ) as service:
            await service.fill(self._count)
            worked = time.process_time()
            seconds = await service.drain(self._count)
            worked = time.process_time() - worked
        return {"rate": self._count / seconds, "core": worked / seconds}


def relay(place: Place, count: int) -> Drain:
    label = "relay: a full outbox on PostgreSQL, published and marked"
    return Drain(place, count, "publish.relay", label)


class _Sending(Contender):
    """Keep a service from round to round."""

    def __init__(self, place: Place, count: int) -> None:
        self._place, self._count = place, count
        self._service: Service | None = None

    @property
    def service(self) -> Service:
        if self._service is None:
            raise Unavailable("its service did not start")
        return self._service

    async def setup(self) -> None:
        service = Service(self._place, self.key.replace(".", "-"))
        await service.__aenter__()
        self._service = service

    async def teardown(self) -> None:
        if self._service is not None:
            await self._service.__aexit__(None, None, None)


class BulkCreate(_Sending):
    key = "publish.bulk-create"
    label = "bulk_create of 1,000 rows: rows and their events into the database"

    async def round(self) -> Measured:
        start = time.perf_counter()
        await self.service.fill(self._count)
        return {"rate": self._count / (time.perf_counter() - start)}


class CustomSignal(_Sending):
    """Send signals, each in a transaction: the row's lock, and the event in the outbox."""

    key, label = "publish.signal", "custom signal of an instance, one send after another"

    async def setup(self) -> None:
        await super().setup()
        [model] = self.service.models
        model.meta.signals.on_bench = edgy.Signal()
        self._instance = await model.query.create(**rows(1)[0])

    async def round(self) -> Measured:
        [model] = self.service.models
        start = time.perf_counter()
        for _ in range(self._count):
            await model.meta.signals.on_bench.send(model, instance=self._instance)
        return {"rate": self._count / (time.perf_counter() - start)}


class Announce(_Sending):
    """Announce `pre_save` events as operations do, in chunks, until the server has each chunk."""

    key = "publish.announce"
    label = "pre_save events from memory, announced one by one, sent in batches"
    chunk = 1_000

    async def setup(self) -> None:
        await super().setup()
        [model] = self.service.models
        self._values = rows(self.chunk)
        self._instances = [model(**values) for values in self._values]
        tag = f"{{{self.service.bus.service}.{model.meta.name}:pre}}"
        self._stream = f"{self.service.prefix}:{tag}:events"

    async def _arrived(self) -> int:
        """Return how many entries the stream has ever had."""
        try:
            information = await self.service.redis.xinfo_stream(self._stream)
        except ResponseError:  # there is no stream before the first event
            return 0
        if "entries-added" not in information:
            raise Unavailable("XINFO STREAM has no entries-added: use Redis 7.0 or newer")
        return int(information["entries-added"])

    async def round(self) -> Measured:
        registry = self.service.registry
        begun = arrived = await self._arrived()
        start = time.perf_counter()
        deadline = start + 60
        for _ in range(max(1, self._count // self.chunk)):
            for instance, values in zip(self._instances, self._values, strict=True):
                announce(registry, "pre_save", instance, values)
            while (now := await self._arrived()) < arrived + self.chunk:
                if time.perf_counter() > deadline:
                    raise Unavailable(f"{now - begun} events in 60 s: the rest was dropped")
                await asyncio.sleep(0)
            arrived = now
        return {"rate": (arrived - begun) / (time.perf_counter() - start)}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    signed = "the same, every event signed"
    yield [
        relay(place, scale.bulk),
        Drain(place, scale.bulk, "publish.relay-signed", signed, signed=True),
        BulkCreate(place, scale.bulk // 5),
        CustomSignal(place, scale.single // 4),
        Announce(place, scale.bulk // 2),
    ]


def tuning(place: Place, scale: Scale) -> list[Contender]:
    return [
        Drain(
            place,
            scale.bulk,
            f"tuning.batch-{chunk}",
            f"relay, {chunk} events in a publishing script",
            relaying=chunks_of(chunk),
            most=3,
        )
        for chunk in (50, 200, 500, 2_000)
    ]
