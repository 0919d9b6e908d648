"""A worker in a process of its own, as an operator has it and as every peer is measured: `python -m benchmarks.suite.consumer STREAMS WANTED`."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import redis.asyncio
import uvloop

import edgy_bus as edgy
from benchmarks.suite.contender import Unavailable
from benchmarks.suite.ours import KEYS, STALLED, Progress, Streams, define, names_of
from benchmarks.suite.place import SERVICE
from edgy_bus.cli.running import collect_less
from edgy_bus.signals import post_save


@dataclass(frozen=True)
class Wanted:
    """What the worker's receivers are, and when it has done enough."""

    group: str
    count: int
    settled: bool = True
    """It counts until everything is acknowledged, not just handled."""
    by_class: bool = False
    inbox: bool = False
    ordered: bool = True
    batch: tuple[int, float] | None = None
    """Size, and seconds to wait for it."""
    wait: float = 0.0
    """Seconds that a receiver takes."""
    groups: int = 1
    concurrency: int = 0

    @property
    def names(self) -> list[str]:
        """The groups that the process serves."""
        return (
            [f"{self.group}-{number}" for number in range(self.groups)]
            if self.groups > 1
            else [self.group]
        )


class Consumer:
    """A worker with a receiver that only counts; every one has a group of its own, and begins at the beginning.

    `by_class` gives the receiver an instance of the model; otherwise it subscribes by name, and gets a plain record.
    """

    def __init__(self, streams: Streams, wanted: Wanted) -> None:
        self.streams = streams
        self.wanted = wanted
        self.seen = 0
        self.first = 0.0
        self.done = asyncio.Event()
        # By class, the receiver belongs to the service of the model, which has a database.
        self.bus = edgy.Bus(
            streams.redis_url,
            service=SERVICE if wanted.by_class else "listener",
            group=wanted.group,
            prefix=streams.prefix,
            relay=False,
            signing_keys=KEYS if streams.signed else None,
            working=edgy.WorkerSettings(concurrency=wanted.concurrency)
            if wanted.concurrency
            else None,
            events=edgy.EventSettings(partitions=streams.partitions),
        )
        self.inbox = edgy.Database(streams.database_url) if wanted.inbox else None
        batch = edgy.Batch(*wanted.batch) if wanted.batch else None
        options: dict[str, Any] = {"ordered": wanted.ordered, "inbox": self.inbox, "batch": batch}
        if wanted.by_class:
            for model in define(edgy.Registry(streams.database_url, bus=self.bus), streams.models):
                post_save(model, name="count", **options)(self._receiver())
            return
        for group in wanted.names:
            for model in names_of(streams.models):
                listen = self.bus.receiver(
                    f"{SERVICE}.{model}", "post_save", name="count", group=group, **options
                )
                listen(self._receiver())

    def _receiver(self) -> Callable[..., Awaitable[None]]:
        async def count(sender: Any, **kwargs: Any) -> None:
            self._count()

        async def count_later(sender: Any, **kwargs: Any) -> None:
            await asyncio.sleep(self.wanted.wait)
            self._count()

        async def count_many(sender: Any, instances: Any, **kwargs: Any) -> None:
            self._count(len(instances))

        if self.wanted.batch:
            return count_many
        return count_later if self.wanted.wait else count

    def _count(self, more: int = 1) -> None:
        if not self.seen:
            self.first = time.perf_counter()
        self.seen += more
        if self.seen >= self.wanted.count:
            self.done.set()

    async def _until_done(self, ending: "asyncio.Task[None]") -> None:
        """Raises `Unavailable` for a worker that handles nothing for a long time, and what ended one that has ended."""
        waiting = asyncio.create_task(self.done.wait())
        try:
            while not self.done.is_set():
                before = self.seen
                await asyncio.wait(
                    (waiting, ending), timeout=STALLED, return_when=asyncio.FIRST_COMPLETED
                )
                if ending.done():
                    await ending
                    raise Unavailable("the worker ended by itself")
                if self.seen == before:
                    raise Unavailable(
                        f"nothing was handled for {STALLED:g} s, after {before:,} of {self.wanted.count:,} events"
                    )
        finally:
            waiting.cancel()

    async def run(self) -> float:
        """Events by second, from the first call to the last that is wanted, or with `settled` until all are acknowledged."""
        async with self.bus:
            if self.inbox is not None and not self.inbox.is_connected:
                await self.inbox.connect()
            collect_less()
            worker = self.bus.worker()
            async with worker, redis.asyncio.Redis.from_url(self.streams.redis_url) as client:
                ending = asyncio.create_task(worker.wait())
                await self._until_done(ending)
                if self.wanted.settled:
                    for group in self.wanted.names:
                        await Progress(self.streams, client, group).finished()
                seconds, seen = time.perf_counter() - self.first, self.seen
                await worker.stop()
                await ending
        return seen / seconds


def main(streams: str, wanted: str) -> None:
    """Print one line of JSON. A worker that handles nothing for a long time, and whatever ends it, is the last line of an error."""
    consumer = Consumer(Streams(**json.loads(streams)), Wanted(**json.loads(wanted)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(json.dumps({"rate": runner.run(consumer.run())}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
