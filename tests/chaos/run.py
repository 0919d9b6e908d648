"""A chaos run: real processes, real servers, faults by a seed, and at the end the truth from the database.

    python -m tests.chaos.run --seconds 60 --seed 1 --database postgresql://…

What was committed is what the outbox table holds: its rows are written in the operations' own transactions.
"""

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import select, text

import edgy_bus as edgy
from edgy_bus.outbox.table import outbox
from tests.chaos.servers import RedisServer
from tests.proxy import Proxy
from tests.simulation.checker import Heard, Report, check_effects, check_group
from tests.simulation.database import Effect

PREFIX = "chaos"
SETTLING = 90.0
"""Seconds after the last fault in which everything must have been handled."""


@dataclass
class Program:
    """A process of the run, and how to start it again."""

    name: str
    command: list[str]
    process: "subprocess.Popen[bytes]"

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@dataclass
class Result:
    """What a run showed."""

    report: Report
    events: int
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Run:
    """Everything of a run."""

    def __init__(self, folder: Path, database_url: str, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.redis = RedisServer(folder)
        self.proxy = Proxy(self.redis.url)
        self.database = edgy.Database(database_url)
        self.database_url = database_url
        self.programs: list[Program] = []
        self.faults: Counter[str] = Counter()

    # Programs

    def start(self, name: str, command: list[str], broker: str) -> Program:
        environment = {
            **os.environ,
            "CHAOS_DATABASE": self.database_url,
            "CHAOS_BROKER": broker,
            "CHAOS_PREFIX": PREFIX,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        one = Program(name, command, process)
        self.programs.append(one)
        return one

    def start_all(self) -> None:
        shutil.copy(Path(__file__).with_name("bank.py"), self.folder)
        for number in (1, 2):
            self.start(f"service{number}", [sys.executable, "bank.py"], self._broker(number))
        worker = [sys.executable, "-m", "edgy_bus", "worker", "bank:consumers"]
        for number in (1, 2):
            self.start(f"worker{number}", worker, self._broker(number))

    def _broker(self, number: int) -> str:
        """One of each kind of program goes through the proxy."""
        return self.proxy.url if number == 1 else self.redis.url

    def restart(self, one: Program) -> None:
        self.programs.remove(one)
        self.start(one.name, one.command, self._broker(int(one.name[-1])))

    # Faults

    async def fault(self, kind: str) -> None:
        draw = self.random
        one = draw.choice([each for each in self.programs if kind.partition(" ")[2] in each.name] or self.programs)
        key = await self._any_stream() if kind in ("delete a stream", "delete an epoch", "destroy a group") else b""
        if kind.startswith("kill "):
            one.signal(signal.SIGKILL)
            one.process.wait(10)
            await asyncio.sleep(draw.choice((0.0, 0.5, 2.0)))
            self.restart(one)
        elif kind.startswith("pause "):
            one.signal(signal.SIGSTOP)
            await asyncio.sleep(draw.choice((0.3, 2.5, 4.0)))
            one.signal(signal.SIGCONT)
        elif kind.startswith("redis "):
            self.redis.kill()
            if kind == "redis starts empty":
                self.redis.wipe()
            elif kind == "redis loses its tail":
                self.redis.cut_tail(draw.choice((0.01, 0.1, 0.4)))
            await asyncio.sleep(draw.choice((0.0, 1.0)))
            await self.redis.start()
        elif kind == "flushall":
            await self.redis.client.flushall()
        elif kind == "delete a stream" and key:
            await self.redis.client.delete(key)
        elif kind == "delete an epoch" and key:
            await self.redis.client.delete(key.removesuffix(b":events") + b":epoch")
        elif kind == "destroy a group" and key:
            await self.redis.client.xgroup_destroy(key, draw.choice(("ledger", "mail")))
        elif kind == "memory is full":
            await self.redis.client.config_set("maxmemory", 1_000_000)
            await asyncio.sleep(draw.uniform(0.5, 3.0))
            await self.redis.client.config_set("maxmemory", 0)
        elif kind == "connections are cut":
            await self.proxy.shut()
            await asyncio.sleep(draw.uniform(0.0, 2.0))
            self.proxy.open()
        elif kind == "nothing passes":
            self.proxy.hold()
            await asyncio.sleep(draw.uniform(0.5, 7.0))
            self.proxy.let_flow()
        elif kind == "the database cuts":
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'chaos'"
            async with edgy.Database(
                self.database_url.replace("application_name=chaos", "application_name=runner")
            ) as other:
                await other.run(text(cut))

    async def _any_stream(self) -> bytes:
        keys = [key async for key in self.redis.client.scan_iter(f"{PREFIX}:*:events")]
        return bytes(self.random.choice(sorted(keys))) if keys else b""

    def kinds(self) -> list[str]:
        return [kind for kind in KINDS if kind != "the database cuts" or self.database_url.startswith("postgresql")]

    async def chaos(self, seconds: float, between: float) -> None:
        until = time.monotonic() + seconds
        kinds = self.kinds()
        self.random.shuffle(kinds)
        number = 0
        while time.monotonic() < until:
            await asyncio.sleep(self.random.expovariate(1 / between))
            kind = kinds[number % len(kinds)]
            number += 1
            self.faults[kind] += 1
            try:
                await self.fault(kind)
            except RedisError:
                continue  # a full or loading server refuses the fault itself

    # The end

    async def settle(self) -> None:
        """No more faults, no more writing; wait until everything has been handled."""
        for one in self.programs:
            one.signal(signal.SIGCONT)
        self.proxy.open()
        self.proxy.let_flow()
        for one in [each for each in self.programs if each.name.startswith("service")]:
            await self._stop(one)
            self.programs.remove(one)
        relay = [sys.executable, "-m", "edgy_bus", "relay", "bank:bus"]
        self.start("relay2", relay, self.redis.url)
        until = time.monotonic() + SETTLING
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            if not (await self.result()).report.faults:
                return

    async def _stop(self, one: Program) -> None:
        one.signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(one.process.wait, 45)
        except subprocess.TimeoutExpired:
            one.signal(signal.SIGUSR1)
            await asyncio.sleep(1)
            log = (self.folder / f"{one.name}.log").read_text(errors="replace")
            raise AssertionError(f"{one.name} did not end after SIGTERM; its tasks: {log[-20_000:]}") from None

    async def result(self) -> Result:
        """Compare what was heard with what was committed."""
        rows = (
            await self.database.run(select(outbox.c.id, outbox.c.subject, outbox.c.event_id).order_by(outbox.c.id))
        ).rows
        committed: dict[str, list[int]] = {}
        for row in rows:
            committed.setdefault(row["subject"], []).append(row["id"])
        ids = {row["event_id"] for row in rows}
        report = Report()
        heard = Heard()
        for row in await self._all("SELECT subject, sequence, event, done FROM chaos_heard ORDER BY id"):
            if row["done"]:
                heard.finished.add(row["event"])
            else:
                heard.starts.append((row["subject"], row["sequence"], row["event"]))
        check_group(report, "mail", heard, committed, ids)
        effects = await self._all("SELECT subject, sequence, event FROM chaos_effects ORDER BY id")
        check_effects(report, "ledger", [Effect(*row.values()) for row in effects], committed)
        return Result(report, len(ids), self.faults)

    async def _all(self, query: str) -> list[dict[str, Any]]:
        return list((await self.database.run(text(query))).rows)


KINDS = (
    "kill service",
    "kill worker",
    "pause service",
    "pause worker",
    "redis starts again",
    "redis starts empty",
    "redis loses its tail",
    "flushall",
    "delete a stream",
    "delete an epoch",
    "destroy a group",
    "memory is full",
    "connections are cut",
    "nothing passes",
    "the database cuts",
)


@asynccontextmanager
async def _schema(url: str) -> AsyncIterator[str]:
    """On PostgreSQL, a schema of the run's own."""
    if not url.startswith("postgresql"):
        yield url
        return
    name = f"chaos_{secrets.token_hex(4)}"
    async with edgy.Database(url) as admin:
        await admin.script(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}{'&' if '?' in url else '?'}schema={name}&application_name=chaos"
        finally:
            await admin.script(f"DROP SCHEMA {name} CASCADE")


async def run(seconds: float, seed: int, url: str, tell: Callable[[str], None] = print, between: float = 0.7) -> Result:
    """One run on the database at `url`; on SQLite, in a file of its own."""
    with tempfile.TemporaryDirectory(prefix="edgy_bus_chaos_") as name:
        folder = Path(name)
        async with _schema(url or f"sqlite:///{folder / 'bank.sqlite'}") as place:
            one = Run(folder, place, seed)
            await one.redis.start()
            began = time.monotonic()
            try:
                async with one.proxy, one.database:
                    one.start_all()
                    await asyncio.sleep(4)
                    await one.chaos(seconds, between)
                    await one.settle()
                    result = await one.result()
            finally:
                for program in one.programs:
                    program.signal(signal.SIGKILL)
                    program.process.wait(10)
                one.redis.kill()
                await one.redis.client.aclose()
            result.seconds = time.monotonic() - began
            if result.report.faults:
                for log in sorted(folder.glob("*.log")):
                    tell(f"--- {log.name}\n{log.read_text(errors='replace')[-3_000:]}")
            return result


def described(result: Result) -> str:
    faults = {kind: (len(what), what[:5]) for kind, what in result.report.faults.items()}
    return (
        f"{result.events:,} events, {sum(result.faults.values())} faults of {len(result.faults)} kinds, "
        f"{result.report.redeliveries:,} redeliveries, {result.seconds:.0f} s, errors: {faults or 'none'}"
    )


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--between", type=float, default=0.7, help="mean seconds between two faults")
    options.add_argument("--database", default="", help="a PostgreSQL URL; SQLite if it is not given")
    given = options.parse_args()
    result = asyncio.run(run(given.seconds, given.seed, given.database, between=given.between))
    sys.stdout.write(f"{described(result)}\n")
    return int(bool(result.report.faults))


if __name__ == "__main__":
    sys.exit(main())
