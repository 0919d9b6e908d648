"""What one process of ours handles by second, with a receiver that does nothing, on streams that the relay has written."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

from benchmarks.suite.consumer import Wanted
from benchmarks.suite.contender import Contender, Measured, Scale
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place
from benchmarks.suite.processes import ask

_BATCH = (100, 0.01)


class Consume(Contender):
    """A new process and a new group for every round, from the beginning of the streams."""

    def __init__(
        self,
        service: Service,
        count: int,
        key: str,
        label: str,
        *,
        settled: bool = True,
        **options: Any,
    ) -> None:
        self.key, self.label = key, label
        self._service, self._count, self._settled, self._options = service, count, settled, options
        self._rounds = 0

    async def round(self) -> Measured:
        self._rounds += 1
        group = f"{self.key.replace('.', '-')}-{self._rounds}"
        wanted = Wanted(group, self._count, self._settled, **self._options)
        given = [json.dumps(asdict(one)) for one in (self._service.streams, wanted)]
        answer = await ask([sys.executable, "-m", "benchmarks.suite.consumer", *given])
        return {"rate": float(answer["rate"])}


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(Service(place, "consume"))
        await plain.backlog(scale.backlog)
        # Copies of a signed event would be refused: their ids are not those that were signed.
        signed = await stack.enter_async_context(Service(place, "consume-signed", signed=True))
        await signed.backlog(scale.backlog // 5, scale.backlog // 5)
        yield [
            Consume(plain, scale.backlog, "consume.name", "by name, a plain record"),
            Consume(plain, scale.backlog, "consume.class", "by class, an instance", by_class=True),
            Consume(
                plain,
                scale.backlog,
                "consume.name-unordered",
                "by name, ordered=False",
                ordered=False,
            ),
            Consume(
                plain,
                scale.backlog,
                "consume.name-batch",
                "by name, a receiver of batches",
                batch=_BATCH,
            ),
            Consume(
                signed, scale.backlog // 5, "consume.name-signed", "by name, signatures checked"
            ),
            Consume(
                plain,
                scale.inbox,
                "consume.class-inbox",
                "by class, inbox=database: a transaction for each event",
                by_class=True,
                inbox=True,
                settled=False,
            ),
            Consume(
                plain,
                scale.inbox * 5,
                "consume.class-inbox-batch",
                "by class, inbox=database, a receiver of batches: a transaction for each batch",
                by_class=True,
                inbox=True,
                batch=_BATCH,
                settled=False,
            ),
        ]


async def tuning(stack: AsyncExitStack, place: Place, scale: Scale) -> list[Contender]:
    """Receivers that wait 5 ms: how many of them may run at a time."""
    service = await stack.enter_async_context(Service(place, "tuning"))
    await service.backlog(scale.backlog // 2)
    return [
        Consume(
            service,
            min(scale.backlog // 2, concurrency * 1_000),
            f"tuning.concurrency-{concurrency}",
            f"receivers that wait 5 ms, concurrency={concurrency}",
            settled=False,
            wait=0.005,
            concurrency=concurrency,
        )
        for concurrency in (8, 64, 256)
    ]
