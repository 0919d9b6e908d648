"""Events by second of a single process, with a receiver that does nothing."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

from benchmarks.suite.consumer import Wanted
from benchmarks.suite.contender import Contender, Measured, Scale
from benchmarks.suite.inbox_by_hand import InboxByHand
from benchmarks.suite.ours import Service
from benchmarks.suite.place import Place
from benchmarks.suite.processes import ask

_BATCH = (100, 0.01)
_MORE = 5
"""Events of a round in batches, for an event of a round with single events."""


class Consume(Contender):
    """Start a process and a group for every round, at the beginning of the streams."""

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
        arguments = [json.dumps(asdict(values)) for values in (self._service.streams, wanted)]
        answer = await ask([sys.executable, "-m", "benchmarks.suite.consumer", *arguments])
        return {"rate": float(answer["rate"])}


def by_name(service: Service, count: int) -> Consume:
    return Consume(service, count, "consume.name", "by name, a plain record")


def by_class(service: Service, count: int) -> Consume:
    return Consume(service, count, "consume.class", "by class, an instance", by_class=True)


def with_metrics(service: Service, count: int) -> Consume:
    label = "by name, a plain record, with --http"
    return Consume(service, count, "consume.name-metrics", label, metrics=True)


def inboxes(service: Service, count: int) -> list[Contender]:
    """Receivers with an inbox, and the same work by hand."""
    label = "by class, inbox=database"
    options: dict[str, Any] = {"by_class": True, "inbox": True, "settled": False}
    place, many = service.place, count * _MORE
    by_hand = "inbox by hand, raw asyncpg: a transaction for each"
    return [
        Consume(
            service,
            count,
            "consume.class-inbox",
            f"{label}: a transaction for each event",
            **options,
        ),
        InboxByHand(place, count, "consume.by-hand-inbox", f"{by_hand} event", batches=False),
        Consume(
            service,
            many,
            "consume.class-inbox-batch",
            f"{label}, a receiver of batches: a transaction for each batch",
            batch=_BATCH,
            **options,
        ),
        InboxByHand(place, many, "consume.by-hand-inbox-batch", f"{by_hand} page", batches=True),
    ]


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(Service(place, "consume"))
        await plain.backlog(scale.backlog)
        yield [
            by_name(plain, scale.backlog),
            by_class(plain, scale.backlog),
            *_variants(plain, scale.backlog),
            await _signed(stack, place, scale.backlog // 5),
            *inboxes(plain, scale.inbox),
        ]


def _variants(plain: Service, count: int) -> list[Contender]:
    return [
        Consume(plain, count, "consume.name-unordered", "by name, ordered=False", ordered=False),
        with_metrics(plain, count),
        Consume(plain, count, "consume.name-batch", "by name, a receiver of batches", batch=_BATCH),
    ]


async def _signed(stack: AsyncExitStack, place: Place, count: int) -> Contender:
    service = await stack.enter_async_context(Service(place, "consume-signed", signed=True))
    # Without copies: a copy has a new event id, which its signature does not cover.
    await service.backlog(count, base=count)
    return Consume(service, count, "consume.name-signed", "by name, signatures checked")


async def tuning(stack: AsyncExitStack, place: Place, scale: Scale) -> list[Contender]:
    """Receivers that wait 5 ms, with different limits of concurrent calls."""
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
