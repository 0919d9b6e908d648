"""Worker processes, started as an operator starts them and observed from outside."""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.suite.contender import Unavailable
from benchmarks.suite.ours import Service
from benchmarks.suite.place import ROOT

_GRACE, _ANSWER = 30.0, 300.0
"""Seconds from SIGTERM to the end of a program, and until a measuring program has answered."""


@asynccontextmanager
async def running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process. At the end of the context it gets SIGTERM, and SIGKILL after a grace."""
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_GRACE):
                    await process.wait()
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


@asynccontextmanager
async def workers(
    service: Service,
    group: str,
    *,
    processes: int = 1,
    concurrency: int | None = None,
    **settings: str,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `edgy-bus worker` with `processes` processes on a service's streams."""
    command = [sys.executable, "-m", "edgy_bus", "worker", "benchmarks.suite.apps:bus"]
    command += ["--processes", str(processes)]
    command += [] if concurrency is None else ["--concurrency", str(concurrency)]
    environment = {
        "BENCH_REDIS": service.place.redis.url,
        "BENCH_PREFIX": service.prefix,
        "BENCH_GROUP": group,
        **{f"BENCH_{name.upper()}": value for name, value in settings.items()},
    }
    async with running(command, environment, service.place.folder / f"{group}.log") as process:
        yield process


async def ask(command: Sequence[str]) -> Any:
    """Return the line of JSON that a program prints.

    Raises `Unavailable` with the last line of its standard error.
    """
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_ANSWER):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        lines = errors.decode().strip().splitlines() or ["the program failed without a message"]
        raise Unavailable(lines[-1][:300])
    return json.loads(output.decode().splitlines()[-1])


async def settled(service: Service, group: str, processes: int, within: float = 60.0) -> None:
    """Wait until that many workers hold equal shares of the partitions, by the leases in Redis."""
    leases = service.streams.leases(group)
    share = len(leases) // processes
    deadline = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < deadline:
        holders = [holder for holder in await service.redis.mget(leases) if holder is not None]
        held = Counter(map(_worker, holders))
        if list(held.values()) == [share] * processes:
            return
        await asyncio.sleep(0.1)
    raise Unavailable(f"{processes} workers did not share the partitions within {within:g} s")


def _worker(holder: bytes) -> bytes:
    """Return the worker of a lease, whose value is `token.worker.tenure`."""
    return holder.partition(b".")[2].rpartition(b".")[0]


def resident(pid: int) -> float:
    """Return the memory of a process in MB. Raises `Unavailable` on systems without /proc."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        raise Unavailable("this system has no /proc with the memory of a process") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
