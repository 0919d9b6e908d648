"""The memory of a relay and of a worker behind a backlog of large events."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import redis

import edgy_bus as edgy
from benchmarks.ordinary.goal import Figure
from benchmarks.ordinary.program import APP, environment, program
from benchmarks.suite.place import Place

_EVENTS, _BYTES = 600, 900_000
_PATIENCE = 180.0


def memory(place: Place) -> list[Figure]:
    """Measure the peak of each process, from its start until everything is done."""
    name = "memory"
    where = environment(place, name)
    asyncio.run(_fill(where["GOALS_REDIS"], where["GOALS_PREFIX"], where["GOALS_DATABASE"]))
    client = redis.Redis.from_url(place.redis.url)
    streams = [f"{place.prefix(name)}:{{shop.Row0:{partition}}}:events" for partition in range(8)]

    def published() -> bool:
        return sum(client.xlen(stream) for stream in streams) >= _EVENTS

    def handled() -> bool:
        groups = [group for stream in streams for group in client.xinfo_groups(stream)]
        return len(groups) == len(streams) and not any(
            group["lag"] or group["pending"] for group in groups
        )

    peaks = []
    for command, is_done in (("relay", published), ("worker", handled)):
        with program(command, f"{APP}:bus", environment=where, folder=place.folder) as process:
            peaks.append(_peak(process, is_done))
    client.close()
    place.clear(name)
    what = f"memory of a {{}}, {_EVENTS} events of {_BYTES:,} bytes"
    return [
        Figure(what.format("relay"), peaks[0], 120, "MB"),
        Figure(what.format("worker"), peaks[1], 160, "MB"),
    ]


async def _fill(broker: str, prefix: str, database: str) -> None:
    bus = edgy.Bus(broker, service="shop", prefix=prefix, relay=False)
    registry_of_bus = edgy.Registry(database, bus=bus)
    bus.on_start(registry_of_bus.create_all)

    class Row0(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        text: str = edgy.TextField()

        class Meta:
            registry = registry_of_bus

    async with bus:
        for _ in range(_EVENTS):
            await Row0.query.create(text="x" * _BYTES)


def _peak(process: "Popen[bytes]", is_done: Callable[[], bool]) -> float:
    """Return megabytes: the most that the process has had until `is_done()`."""
    status, deadline = Path(f"/proc/{process.pid}/status"), time.monotonic() + _PATIENCE
    while not is_done():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not do its work")
        time.sleep(0.1)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
