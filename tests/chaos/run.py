"""Run real processes on real servers with faults by a seed, then compare with the database.

    python -m tests.chaos.run --seconds 60 --seed 1 --database own

A run adds a line to docs/runs.md.

The outbox table contains exactly the committed events, because each outbox row is written in the
transaction of its operation.
"""

import argparse
import asyncio
import itertools
import logging
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import select, text

import edgy_bus as edgy
from edgy_bus.errors import EdgyBusError
from edgy_bus.events import partition_number
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from tests.chaos import recovery
from tests.chaos.faults import DATABASE_CUTS, DATABASE_RESTARTS, FAULTS
from tests.chaos.programs import Program
from tests.chaos.recovery import Call, Outage, Recovery
from tests.chaos.servers import PostgresServer, RedisServer
from tests.proxy import Proxy
from tests.runs import record
from tests.simulation.checker import Heard, Report, check_effects, check_group
from tests.simulation.database import Effect

PREFIX = "chaos"
SETTLING = 90.0
"""Seconds after the last fault in which the number of unfinished events must fall.

The time starts again whenever the number falls.
"""

STARTING = 15.0
"""Seconds in which a program may end by itself if the database becomes unavailable.

Programs do not repeat a failed start.
"""

OWN, SQLITE = "own", "sqlite"


@dataclass(frozen=True)
class Options:
    """Hold the options of a run. Times are in seconds."""

    seconds: float = 60.0
    seed: int = 0
    between: float = 0.7
    """Mean time that a faulter waits between two faults."""
    even: bool = False
    """Whether it waits the same time always, so that one fault is over before the next."""
    faulters: int = 1
    """How many make faults, side by side."""
    database: str = OWN
    """`own` for a new PostgreSQL server, `sqlite`, or the URL of a shared PostgreSQL server."""
    kinds: tuple[str, ...] = ()
    """Which faults; all that apply by default."""
    pause: float = 0.1
    """Longest pause of a writer between two operations."""
    defaults: bool = False
    """Whether the programs run with the library's own settings instead of shorter times."""

    @property
    def partitions(self) -> int:
        return EventSettings().partitions if self.defaults else 3

    def faults(self) -> list[str]:
        """The kinds that apply to this database."""
        missing = {OWN: set(), SQLITE: {DATABASE_CUTS, DATABASE_RESTARTS}}.get(
            self.database, {DATABASE_RESTARTS}
        )
        return [kind for kind in self.kinds or FAULTS if kind not in missing]


@dataclass
class Result:
    """Hold the result of a run."""

    report: Report
    events: int
    faults: Counter[str] = field(default_factory=Counter)
    recoveries: list[Recovery] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    """Seconds from the commit to the first call, of every event and group."""
    shared: int = 0
    """Events with calls in several processes, which are redeliveries and not retries."""
    failed_starts: int = 0
    """Programs that ended during their start, because the database was unavailable."""
    seconds: float = 0.0


class Run:
    """Everything of a run."""

    def __init__(
        self, folder: Path, options: Options, database_url: str, postgres: PostgresServer | None
    ) -> None:
        self.prefix = PREFIX
        self.redis = RedisServer(folder)
        self.proxy = Proxy(self.redis.url)
        self.postgres = postgres
        self.database_url = database_url
        self.programs: dict[str, Program] = {}
        self.outages: list[Outage] = []
        self._folder = folder
        self._options = options
        self._database = edgy.Database(
            database_url.replace("application_name=chaos", "application_name=runner")
        )
        self._faults: Counter[str] = Counter()
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ended: list[str] = []
        self._failed_starts = 0
        self._deck = _deck(options)
        self._database_went = 0.0

    def alone(self, what: str) -> asyncio.Lock:
        return self._locks[what]

    # Programs

    def start(self, name: str, *command: str) -> None:
        """One of each kind of program, the first, goes through the proxy."""
        self.programs[name] = Program(
            name,
            [sys.executable, *command],
            self._folder,
            {
                "CHAOS_DATABASE": self.database_url,
                "CHAOS_BROKER": self.proxy.url if name.endswith("1") else self.redis.url,
                "CHAOS_PREFIX": PREFIX,
                "CHAOS_PAUSE": str(self._options.pause),
                "CHAOS_DEFAULTS": "1" if self._options.defaults else "",
                "CHAOS_PARTITIONS": str(self._options.partitions),
            },
        )

    def restart(self, name: str) -> None:
        self.start(name, *COMMANDS[name.rstrip("0123456789")])

    def start_all(self) -> None:
        shutil.copy(Path(__file__).with_name("bank.py"), self._folder)
        for name in ("service1", "service2", "worker1", "worker2"):
            self.restart(name)

    def _kill_all(self) -> None:
        for program in self.programs.values():
            program.kill()

    async def supervise(self) -> None:
        """Restart programs that end by themselves, as a process manager does.

        Such an end is an error, except during a start while the database is unavailable.
        """
        while True:
            await asyncio.sleep(0.2)
            for name, program in list(self.programs.items()):
                if self.alone(name).locked() or program.process.poll() is None:
                    continue
                if self._could_not_start(program):
                    self._failed_starts += 1
                else:
                    status, log = program.process.returncode, program.log[-2_000:]
                    self._ended.append(f"{name} with {status}: {log}")
                self.restart(name)

    def _could_not_start(self, program: Program) -> bool:
        if self.alone("database").locked():
            self._database_went = time.monotonic()
        age = time.monotonic() - program.began
        return program.began - 1 < self._database_went and age < STARTING

    # Faults

    async def chaos(self) -> None:
        until = time.monotonic() + self._options.seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(self._options.faulters):
                group.create_task(self._break_things(until))

    async def _break_things(self, until: float) -> None:
        while True:
            kind, draw = next(self._deck)
            wait = draw.expovariate(1 / self._options.between)
            await asyncio.sleep(self._options.between if self._options.even else wait)
            if time.monotonic() > until:
                return
            try:
                self._faults[kind] += await FAULTS[kind](self, draw)
            except (RedisError, EdgyBusError):
                continue  # a full or loading server refuses the fault itself
            finally:
                if kind in (DATABASE_CUTS, DATABASE_RESTARTS):
                    self._database_went = time.monotonic()

    # The end

    async def settle(self) -> None:
        """No more faults, no more writing; wait until everything has been handled."""
        for name in [name for name in self.programs if name.startswith("service")]:
            await asyncio.to_thread(self.programs.pop(name).end, 45)
        self.restart("relay2")
        least, until = await self._unfinished(), time.monotonic() + SETTLING
        while least and time.monotonic() < until:
            await asyncio.sleep(0.5)
            now = await self._unfinished()
            if now < least:
                least, until = now, time.monotonic() + SETTLING

    async def _unfinished(self) -> int:
        """How many events some group has not finished."""
        counts = [await self._all(query) for query in UNFINISHED]
        return sum(rows[0]["n"] for rows in counts)

    async def result(self) -> Result:
        """Compare what was heard with what was committed."""
        columns = (outbox.c.id, outbox.c.subject, outbox.c.event_id)
        rows = (await self._database.run(select(*columns).order_by(outbox.c.id))).rows
        committed: dict[str, list[int]] = {}
        for row in rows:
            committed.setdefault(row["subject"], []).append(row["id"])
        ids = {row["event_id"] for row in rows}
        report, heard, calls = Report(), Heard(), []
        for row in await self._all("SELECT * FROM chaos_heard ORDER BY id"):
            if row["done"]:
                heard.finished.add(row["event"])
            else:
                heard.starts.append((row["subject"], row["sequence"], row["event"]))
                calls.append(self._call("mail", row))
        check_group(report, "mail", heard, committed, ids)
        effects = await self._all("SELECT * FROM chaos_effects ORDER BY id")
        calls += [self._call("ledger", row) for row in effects]
        made = [Effect(row["subject"], row["sequence"], row["event"]) for row in effects]
        check_effects(report, "ledger", made, committed)
        for one in self._ended:
            report.add("ended", one)
        for key in [key async for key in self.redis.client.scan_iter(f"{PREFIX}:*:dead:*")]:
            report.add("given up", f"{key!r}: {await self.redis.client.xrange(key, count=3)}")
        waits = recovery.recoveries(self.outages, calls)
        shared = recovery.shared(call for call in calls if call.group == "mail")
        latencies = recovery.latencies(calls)
        return Result(report, len(ids), self._faults, waits, latencies, shared, self._failed_starts)

    def _call(self, group: str, row: dict[str, Any]) -> Call:
        partition = partition_number(row["subject"], self._options.partitions)
        return Call(group, partition, row["event"], row["process"], row["at"])

    async def _all(self, query: str) -> list[dict[str, Any]]:
        return list((await self._database.run(text(query))).rows)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The servers and programs; whatever happens, none of them is left."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.redis.client.aclose)
            stack.callback(self.redis.kill)
            await self.redis.start()
            await stack.enter_async_context(self.proxy)
            await stack.enter_async_context(self._database)
            stack.callback(self._kill_all)
            self.start_all()
            supervisor = asyncio.create_task(self.supervise())
            try:
                yield
            finally:
                supervisor.cancel()
                await asyncio.wait([supervisor])
            assert supervisor.cancelled(), f"the supervisor failed: {supervisor.exception()}"

    def logs(self) -> Iterator[str]:
        for log in sorted(self._folder.glob("*.log")):
            yield f"--- {log.name}\n{log.read_text(errors='replace')[-3_000:]}"


COMMANDS = {
    "service": ("bank.py",),
    "worker": ("-m", "edgy_bus", "worker", "bank:consumers"),
    "canary": ("-m", "edgy_bus", "worker", "bank:canary"),
    "relay": ("-m", "edgy_bus", "relay", "bank:bus"),
}

_UNFINISHED = "SELECT count(*) AS n FROM (SELECT event_id FROM edgy_bus_outbox EXCEPT {}) x"

UNFINISHED = (
    _UNFINISHED.format("SELECT event FROM chaos_heard WHERE done"),
    _UNFINISHED.format("SELECT event FROM chaos_effects"),
)


def _deck(options: Options) -> Iterator[tuple[str, random.Random]]:
    """Yield every kind once in an order by the seed, then again, without end.

    Each fault has its own `Random`.
    """
    kinds = options.faults()
    order = random.Random(options.seed)
    numbers = itertools.count()
    while True:
        order.shuffle(kinds)
        for kind in kinds:
            yield kind, random.Random(f"{options.seed}.{next(numbers)}")


@contextmanager
def _own_postgres(options: Options) -> Iterator[PostgresServer | None]:
    if options.database != OWN:
        yield None
        return
    server = PostgresServer()
    try:
        server.create()
        yield server
    finally:
        server.remove()


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


async def run(options: Options, tell: Callable[[str], None] = print) -> Result:
    """Run once. A run in which too little happened has an error of its own, `vacuous`.

    Args:
        options: the options of the run.
        tell: called with the logs of the programs if the run has errors.

    Raises:
        AssertionError: if something of the run does not start or end.
    """
    result = await _run(options, tell)
    for reason in vacuous(options, result):
        result.report.add("vacuous", reason)
    return result


async def _run(options: Options, tell: Callable[[str], None]) -> Result:
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="edgy_bus_chaos_") as name,
        _own_postgres(options) as postgres,
    ):
        folder = Path(name)
        url = options.database
        if postgres is not None:
            await postgres.start()
            url = postgres.url
        elif url == SQLITE:
            url = f"sqlite:///{folder / 'bank.sqlite'}"
        async with _schema(url) as place:
            one = Run(folder, options, place, postgres)
            async with one.running():
                await asyncio.sleep(4)
                await one.chaos()
                await one.settle()
                result = await one.result()
        result.seconds = time.monotonic() - began
        if result.report.faults:
            for log in one.logs():
                tell(log)
        return result


async def _interruptible(options: Options) -> Result:
    """A run that leaves no process behind when it is told to end."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run(options)


def vacuous(options: Options, result: Result) -> list[str]:
    """What happened too little for the run to mean anything."""
    faults, kinds = sum(result.faults.values()), len(options.faults())
    wanted = {
        "events": (result.events, int(10 * options.seconds)),
        "faults": (faults, int(options.seconds / (options.between + 4.0))),
        "kinds of faults": (len(result.faults), min(kinds, max(1, kinds * 3 // 4))),
    }
    if kills := result.faults["kill worker"]:
        wanted["events redelivered to another process"] = result.shared, max(1, kills // 4)
        wanted["measured recoveries"] = len(result.recoveries), max(1, kills // 4)
    return [
        f"{count:,} {what}, at least {least:,} are wanted"
        for what, (count, least) in wanted.items()
        if count < least
    ]


def described(result: Result) -> str:
    """Return the result as text for people."""
    errors = {kind: (len(lines), lines[:5]) for kind, lines in result.report.faults.items()}
    return (
        f"{result.events:,} events, "
        f"{sum(result.faults.values())} faults of {len(result.faults)} kinds, "
        f"{result.report.redeliveries:,} repeated calls, "
        f"{result.shared:,} events redelivered to another process, {result.seconds:.0f} s; "
        f"{result.failed_starts} starts failed for want of the database; "
        f"commit to first call: {recovery.spread(result.latencies)}; "
        f"waits after a worker's outage: {recovery.described(result.recoveries)}; "
        f"errors: {errors or 'none'}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=Options.seconds)
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument(
        "--between",
        type=float,
        default=Options.between,
        help="mean seconds between a faulter's faults",
    )
    parser.add_argument("--even", action="store_true", help="always that long, for measurements")
    parser.add_argument(
        "--faulters", type=int, default=Options.faulters, help="how many make faults, side by side"
    )
    parser.add_argument(
        "--database",
        default=OWN,
        help="own (a PostgreSQL server of the run's), sqlite, or a PostgreSQL URL",
    )
    parser.add_argument("--kinds", default="", help=f"comma-separated, of: {', '.join(FAULTS)}")
    parser.add_argument(
        "--pause", type=float, default=Options.pause, help="longest pause of a writer, in seconds"
    )
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="the library's default settings, instead of shorter times",
    )
    parser.add_argument(
        "--no-record", dest="records", action="store_false", help="add no line to docs/runs.md"
    )
    given = vars(parser.parse_args())
    records = given.pop("records")
    kinds = tuple(kind.strip() for kind in given.pop("kinds").split(",") if kind.strip())
    if unknown := set(kinds) - FAULTS.keys():
        parser.error(f"unknown kinds of faults: {', '.join(sorted(unknown))}")
    options = Options(kinds=kinds, **given)
    logging.getLogger("asyncpg").setLevel(
        logging.CRITICAL
    )  # the runner's own connections are cut as well
    result = asyncio.run(_interruptible(options))
    sys.stdout.write(f"{described(result)}\n{dict(sorted(result.faults.items()))}\n")
    if records:
        record(
            "chaos",
            seeds=1,
            faults=sum(result.faults.values()),
            events=result.events,
            errors=sum(len(errors) for errors in result.report.faults.values()),
        )
    return int(bool(result.report.faults))


if __name__ == "__main__":
    sys.exit(main())
