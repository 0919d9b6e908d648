"""Growth of the cost with the backlog, partitions, models, groups and processes, and of memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
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
    """Consume streams that are written before the first round."""

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
    """Measure how a worker process grows between the first hundredth and the end of a backlog."""

    most = 1

    def __init__(self, place: Place, count: int) -> None:
        self.key = "growth.memory"
        self.label = f"a worker process over {count:,} events: rate, and growth of its memory"
        self._place, self._count = place, count

    async def round(self) -> Measured:
        async with Service(self._place, "growth-memory") as service:
            await service.backlog(self._count)
            async with workers(service, "memory") as process:
                return await self._watch(
                    Progress(service.streams, service.redis, "memory"), process
                )

    async def _watch(self, progress: Progress, process: asyncio.subprocess.Process) -> Measured:
        first = await self._handled(progress, process, self._count // 100)
        start, before = time.perf_counter(), resident(process.pid)
        last = await self._handled(progress, process, self._count)
        seconds = time.perf_counter() - start
        return {"rate": (last - first) / seconds, "mb": resident(process.pid) - before}

    async def _handled(
        self, progress: Progress, process: asyncio.subprocess.Process, wanted: int
    ) -> int:
        """Wait until the group has handled `wanted` events. Returns how many it has handled."""
        while process.returncode is None:
            unfinished = [count for count in await progress.open() if count is not None]
            # A stream without the group is unfinished as a whole.
            complete = len(unfinished) == len(progress.streams.keys)
            handled = self._count - sum(unfinished) if complete else 0
            if handled >= wanted:
                return handled
            await asyncio.sleep(0.05)
        raise Unavailable("the worker died")


class Processes(Contender):
    """Observe processes for some seconds: receivers wait 5 ms, eight at a time."""

    most = 3

    def __init__(self, service: Service, processes: int, scale: Scale) -> None:
        self.key = f"processes.{processes}"
        self.label = f"{processes} worker process{'es' * (processes > 1)}"
        self._service, self._processes, self._window = service, processes, scale.window
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
            raise Unavailable(f"a partition was idle: {before} before, {after} after")
        return {"rate": (_sum(before) - _sum(after)) / seconds}


def _sum(unfinished: Sequence[int | None]) -> int:
    return sum(count or 0 for count in unfinished)


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [
        *(_backlog(place, backlog, scale) for backlog in scale.backlogs),
        *(_partitions(place, count, scale) for count in (1, scale.partitions)),
        *(_models(place, count, scale) for count in (1, scale.models)),
        *(_groups(place, count, scale) for count in (1, scale.groups)),
        Memory(place, scale.backlogs[-1]),
    ]


def _backlog(place: Place, backlog: int, scale: Scale) -> Contender:
    label = f"backlog of {backlog:,} events"
    count = min(backlog, scale.backlog)
    return _Prepared(place, f"growth.backlog-{backlog}", label, backlog, count)


def _partitions(place: Place, partitions: int, scale: Scale) -> Contender:
    key, label = f"growth.partitions-{partitions}", f"{_counted(partitions, 'partition')}"
    return _Prepared(place, key, label, scale.backlog, scale.backlog, partitions=partitions)


def _models(place: Place, models: int, scale: Scale) -> Contender:
    key, label = f"growth.models-{models}", f"{_counted(models, 'model')} of 8 partitions"
    return _Prepared(place, key, label, scale.backlog, scale.backlog // 2, models=models)


def _groups(place: Place, groups: int, scale: Scale) -> Contender:
    label = f"{_counted(groups, 'group')} in one process, calls of all together"
    backlog = scale.backlog // 5
    return _Prepared(place, f"growth.groups-{groups}", label, backlog, backlog, groups=groups)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


@asynccontextmanager
async def processes(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with Service(place, "processes") as service:
        # Enough events for eight processes until the end of the window, even on a slow machine.
        rate = 8 * _CONCURRENCY / _WAIT
        await service.backlog(int(rate * (scale.window + 25)))
        yield [Processes(service, count, scale) for count in (1, 2, 4, 8)]


@asynccontextmanager
async def tuning(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        yield [*ours_publish.tuning(place, scale), *await ours_consume.tuning(stack, place, scale)]
