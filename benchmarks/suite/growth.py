"""How the cost grows: with the backlog, partitions, models, groups, processes, and what a worker's memory does over many events."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from benchmarks.suite import ours_consume, ours_publish
from benchmarks.suite.contender import Contender, Measured, Scale, Unavailable
from benchmarks.suite.ours import Progress, Service
from benchmarks.suite.ours_consume import Consume
from benchmarks.suite.place import Place
from benchmarks.suite.processes import resident, settled, workers

_WAIT, _CONCURRENCY = 0.005, 8


class _Prepared(Consume):
    """Has streams of its own, written before the first round."""

    def __init__(
        self,
        place: Place,
        key: str,
        label: str,
        backlog: int,
        count: int,
        *,
        partitions: int = 8,
        models: int = 1,
        groups: int = 1,
    ) -> None:
        self._stack = AsyncExitStack()
        self._make = partial(
            Service, place, key.replace(".", "-"), partitions=partitions, models=models
        )
        self.key, self.label = key, label
        self._backlog = backlog
        self._count, self._settled = count * groups, False
        self._options = {"groups": groups}
        self._rounds = 0

    async def setup(self) -> None:
        self._service = await self._stack.enter_async_context(self._make())
        await self._service.backlog(self._backlog)

    async def teardown(self) -> None:
        await self._stack.aclose()


class Memory(Contender):
    """One worker process works through the whole backlog: its memory at the end, above that after the first hundredth."""

    most = 1

    def __init__(self, place: Place, count: int) -> None:
        self.key, self.label = (
            "growth.memory",
            f"a worker process over {count:,} events: rate, and growth of its memory",
        )
        self._place, self._count = place, count

    async def round(self) -> Measured:
        async with Service(self._place, "growth-memory") as service:
            await service.backlog(self._count)
            async with workers(service, "memory") as process:
                return await self._watch(
                    Progress(service.streams, service.redis, "memory"), process
                )

    async def _watch(self, progress: Progress, process: asyncio.subprocess.Process) -> Measured:
        begun: tuple[float, int] | None = None
        before = 0.0
        while True:
            if process.returncode is not None:
                raise Unavailable("the worker died")
            found = await progress.open()
            left = (
                sum(one for one in found if one is not None) if None not in found else self._count
            )
            done = self._count - left
            if begun is None and done >= self._count // 100:
                begun, before = (time.perf_counter(), done), resident(process.pid)
            if not left and begun is not None:
                seconds = time.perf_counter() - begun[0]
                return {
                    "rate": (self._count - begun[1]) / seconds,
                    "mb": resident(process.pid) - before,
                }
            await asyncio.sleep(0.05)


class Processes(Contender):
    """Receivers that wait 5 ms, eight at a time in each process: what all processes finish in a look of some seconds."""

    most = 3

    def __init__(self, place: Place, service: Service, processes: int, scale: Scale) -> None:
        self.key, self.label = (
            f"processes.{processes}",
            f"{processes} worker process{'es' * (processes > 1)}",
        )
        self._place, self._service, self._processes, self._window = (
            place,
            service,
            processes,
            scale.window,
        )
        self._rounds = 0

    async def round(self) -> Measured:
        self._rounds += 1
        group = f"processes-{self._processes}-{self._rounds}"
        async with workers(
            self._service,
            group,
            processes=self._processes,
            concurrency=_CONCURRENCY,
            wait=str(_WAIT),
        ):
            await settled(self._service, group, self._processes)
            progress = Progress(self._service.streams, self._service.redis, group)
            before, start = await progress.open(), time.perf_counter()
            await asyncio.sleep(self._window)
            after, seconds = await progress.open(), time.perf_counter() - start
        if None in before or not all(after):
            raise Unavailable(
                f"a partition was not held or had run out of events: {before} before, {after} after"
            )
        return {
            "rate": (sum(one or 0 for one in before) - sum(one or 0 for one in after)) / seconds
        }


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    found: list[Contender] = [
        _Prepared(
            place,
            f"growth.backlog-{backlog}",
            f"backlog of {backlog:,} events",
            backlog,
            min(backlog, scale.backlog),
        )
        for backlog in scale.backlogs
    ]
    found += [
        _Prepared(
            place,
            f"growth.partitions-{count}",
            f"{count} partition{'s' * (count > 1)}",
            scale.backlog,
            scale.backlog,
            partitions=count,
        )
        for count in (1, scale.partitions)
    ]
    found += [
        _Prepared(
            place,
            f"growth.models-{count}",
            f"{count} model{'s' * (count > 1)} of 8 partitions",
            scale.backlog,
            scale.backlog // 2,
            models=count,
        )
        for count in (1, scale.models)
    ]
    found += [
        _Prepared(
            place,
            f"growth.groups-{count}",
            f"{count} group{'s' * (count > 1)} in one process, calls of all together",
            scale.backlog // 5,
            scale.backlog // 5,
            groups=count,
        )
        for count in (1, scale.groups)
    ]
    yield [*found, Memory(place, scale.backlogs[-1])]


@asynccontextmanager
async def processes(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with Service(place, "processes") as service:
        # Enough for eight processes from the first one's start to the end of the look, with room for a slow machine.
        await service.backlog(int(8 * _CONCURRENCY / _WAIT * (scale.window + 25)))
        yield [Processes(place, service, count, scale) for count in (1, 2, 4, 8)]


@asynccontextmanager
async def tuning(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        yield [*ours_publish.tuning(place, scale), *await ours_consume.tuning(stack, place, scale)]
