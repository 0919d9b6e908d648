"""A worker in a process of its own: `python -m benchmarks.suite.consumer STREAMS WANTED`.

The process is set up like `edgy-bus worker`, and measured like the process of a peer.
"""

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
from benchmarks.suite.internals import collect_less
from benchmarks.suite.ours import KEYS, STALLED, Progress, Streams, define, names_of
from benchmarks.suite.place import SERVICE
from edgy_bus.signals import post_save


@dataclass(frozen=True)
class Wanted:
    """Describe the worker's receivers and the end of the measurement."""

    group: str
    count: int
    settled: bool = True
    """Measure until the last acknowledgement instead of the last call."""
    by_class: bool = False
    inbox: bool = False
    ordered: bool = True
    batch: tuple[int, float] | None = None
    """Size of a batch, and seconds to wait for its events."""
    wait: float = 0.0
    """Duration of a call in seconds."""
    groups: int = 1
    metrics: bool = False
    """Serve metrics, as with `--http`."""
    concurrency: int = 0

    @property
    def names(self) -> list[str]:
        """The groups of the process."""
        return (
            [f"{self.group}-{number}" for number in range(self.groups)]
            if self.groups > 1
            else [self.group]
        )


class Consumer:
    """Run a worker whose receiver only counts, in a new group, from the beginning of the streams.

    With `by_class` the receiver takes an instance of the model. Without, the receiver subscribes by
    name and takes a plain record.
    """

    def __init__(self, streams: Streams, wanted: Wanted) -> None:
        self.streams = streams
        self.wanted = wanted
        self.handled = 0
        self.first = 0.0
        self.done = asyncio.Event()
        working = edgy.WorkerSettings(concurrency=wanted.concurrency or 1)
        self.bus = edgy.Bus(
            streams.redis_url,
            # A receiver by class belongs to the service of its model, which has the database.
            service=SERVICE if wanted.by_class else "listener",
            group=wanted.group,
            prefix=streams.prefix,
            relay=False,
            http=0 if wanted.metrics else None,
            signing_keys=KEYS if streams.signed else None,
            working=working if wanted.concurrency else None,
            events=edgy.EventSettings(partitions=streams.partitions),
        )
        self.inbox = edgy.Database(streams.database_url) if wanted.inbox else None
        self._connect()

    def _connect(self) -> None:
        streams, wanted = self.streams, self.wanted
        batch = edgy.Batch(*wanted.batch) if wanted.batch else None
        options: dict[str, Any] = {"ordered": wanted.ordered, "inbox": self.inbox, "batch": batch}
        if wanted.by_class:
            registry = edgy.Registry(streams.database_url, bus=self.bus)
            for model in define(registry, streams.models):
                post_save(model, name="count", **options)(self._receiver())
            return
        for group in wanted.names:
            for model in names_of(streams.models):
                sender = f"{SERVICE}.{model}"
                listen = self.bus.receiver(
                    sender, "post_save", name="count", group=group, **options
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
        if not self.handled:
            self.first = time.perf_counter()
        self.handled += more
        if self.handled >= self.wanted.count:
            self.done.set()

    async def _until_done(self, ending: "asyncio.Task[None]") -> None:
        """Wait for the last call. Raises `Unavailable` for a stalled worker."""
        waiting = asyncio.create_task(self.done.wait())
        try:
            while not self.done.is_set():
                before = self.handled
                await asyncio.wait(
                    (waiting, ending), timeout=STALLED, return_when=asyncio.FIRST_COMPLETED
                )
                if ending.done():
                    await ending
                    raise Unavailable("the worker ended by itself")
                if self.handled == before:
                    progress = f"after {before:,} of {self.wanted.count:,} events"
                    raise Unavailable(f"no event was handled for {STALLED:g} s, {progress}")
        finally:
            waiting.cancel()

    async def run(self) -> float:
        """Return events by second, from the first call to the last wanted call.

        With `settled`, the measurement ends when all events are acknowledged.
        """
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
                seconds, handled = time.perf_counter() - self.first, self.handled
                await worker.stop()
                await ending
        return handled / seconds


def main(streams: str, wanted: str) -> None:
    """Print a line of JSON. The error of a failed worker is the last line of standard error."""
    consumer = Consumer(Streams(**json.loads(streams)), Wanted(**json.loads(wanted)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate = runner.run(consumer.run())
    sys.stdout.write(json.dumps({"rate": rate}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
