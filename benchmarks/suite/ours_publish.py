"""What we publish by second: the outbox through the relay, signals that are sent one by one, `pre_*` events from memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import ResponseError

import edgy_bus as edgy
from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place, rows


class Drain(Contender):
    """A full outbox on PostgreSQL, until everything is on its stream and marked. Filling it does not count."""

    def __init__(
        self,
        place: Place,
        count: int,
        key: str,
        label: str,
        *,
        signed: bool = False,
        batch: int | None = None,
        most: int = 1_000,
    ) -> None:
        self.key, self.label, self.most = key, label, most
        self._place, self._count, self._signed = place, count, signed
        self._relaying = None if batch is None else edgy.RelaySettings(chunk=batch)

    async def round(self) -> Measured:
        name = self.key.replace(".", "-")
        async with Service(
            self._place, name, signed=self._signed, relaying=self._relaying
        ) as service:
            await service.fill(self._count)
            return {"rate": self._count / await service.drain(self._count)}


class _Sending(Contender):
    """A service that goes on from round to round."""

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
    key, label = (
        "publish.bulk-create",
        "bulk_create of 1,000 rows: rows and their events into the database",
    )

    async def round(self) -> Measured:
        start = time.perf_counter()
        await self.service.fill(self._count)
        return {"rate": self._count / (time.perf_counter() - start)}


class CustomSignal(_Sending):
    """Each is a transaction of its own: the row's lock, and the event in the outbox."""

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
    """`pre_save` events as operations announce them, until the server has them: a thousand, wait until they are there, again."""

    key, label = (
        "publish.announce",
        "pre_save events from memory, announced one by one, sent in batches",
    )
    chunk = 1_000

    async def setup(self) -> None:
        await super().setup()
        [model] = self.service.models
        self._values = rows(self.chunk)
        self._instances = [model(**one) for one in self._values]
        self._stream = (
            f"{self.service.prefix}:{{{self.service.bus.service}.{model.meta.name}:pre}}:events"
        )

    async def _arrived(self) -> int:
        try:
            information = await self.service.redis.xinfo_stream(self._stream)
        except ResponseError:  # there is no stream before the first event
            return 0
        if "entries-added" not in information:
            raise Unavailable(
                "this server does not tell how many entries a stream has had (Redis 7.0 or newer)"
            )
        return int(information["entries-added"])

    async def round(self) -> Measured:
        [model] = self.service.models
        writer = self.service.registry.writer
        begun = arrived = await self._arrived()
        start = time.perf_counter()
        deadline = start + 60
        for _ in range(max(1, self._count // self.chunk)):
            for instance, values in zip(self._instances, self._values, strict=True):
                writer.announce(model.meta, "pre_save", instance, values)
            while (now := await self._arrived()) < arrived + self.chunk:
                if time.perf_counter() > deadline:
                    raise Unavailable(
                        f"{now - begun} events arrived within 60 s: the others were dropped"
                    )
                await asyncio.sleep(0)
            arrived = now
        return {"rate": (arrived - begun) / (time.perf_counter() - start)}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        Drain(
            place,
            scale.bulk,
            "publish.relay",
            "relay: a full outbox on PostgreSQL, published and marked",
        ),
        Drain(
            place, scale.bulk, "publish.relay-signed", "the same, every event signed", signed=True
        ),
        BulkCreate(place, scale.bulk // 5),
        CustomSignal(place, scale.single // 4),
        Announce(place, scale.bulk // 2),
    ]


def tuning(place: Place, scale: Scale) -> list[Any]:
    return [
        Drain(
            place, scale.bulk, f"tuning.batch-{batch}", f"relay, batch={batch}", batch=batch, most=3
        )
        for batch in (50, 200, 500, 2_000)
    ]
