"""Worker processes, started as an operator starts them, and what can be seen of them from outside."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.suite.contender import Unavailable
from benchmarks.suite.ours import Service
from benchmarks.suite.place import ROOT

_GRACE, _ANSWER = 30.0, 300.0
"""Seconds in which a program ends when it is told to, and in which one that measures has to answer."""


@asynccontextmanager
async def running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is asked to end, and then killed, when the context is left."""
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
    """`edgy-bus worker` with `processes` processes, on a service's streams."""
    command = [
        sys.executable,
        "-m",
        "edgy_bus",
        "worker",
        "benchmarks.suite.apps:bus",
        "--processes",
        str(processes),
    ]
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
    """The line of JSON that a program prints. Raises `Unavailable` with the last line of its complaint."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_ANSWER):
            told, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Unavailable(
            (complaint.decode().strip().splitlines() or ["it failed without a word"])[-1][:300]
        )
    return json.loads(told.decode().splitlines()[-1])


async def settled(service: Service, group: str, processes: int, within: float = 60.0) -> None:
    """Wait until that many workers are alive and say that each holds its equal share of the partitions."""
    share = service.bus.events.partitions // processes
    broker = service.bus.broker
    deadline = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < deadline:
        members = await broker.members(group) if broker is not None else None
        if members is not None and len(members.alive) == processes:
            held = [
                orjson.loads(members.reports.get(name) or b"{}").get("partitions")
                for name in members.alive
            ]
            if held == [share] * processes:
                return
        await asyncio.sleep(0.1)
    raise Unavailable(f"{processes} workers did not share the partitions within {within:g} s")


def resident(pid: int) -> float:
    """Memory of a process in MB. Raises `Unavailable` where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        raise Unavailable("this system does not tell a process's memory in /proc") from None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
