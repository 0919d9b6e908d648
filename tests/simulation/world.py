"""Simulate a run of services, relays, workers of two groups, and faults, determined by a seed."""

import asyncio
import gc
import hashlib
import random as random_module
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker
from edgy_bus.errors import BrokerUnavailable, DatabaseUnavailable
from edgy_bus.events import Partition, partition_name, partitions_of
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.retry import Asked, Retry, RetryLater
from edgy_bus.runtime.subscriptions import Snapshot as Instance
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import Bell
from edgy_bus.settings import RelaySettings, WorkerSettings
from edgy_bus.signals import Batch, Options, Receiver
from tests.simulation.broker import Network, Redis, State, client, latency
from tests.simulation.checker import Heard, Report, check_effects, check_group, check_streams
from tests.simulation.database import Database, Effect, Inbox, InboxTables, Row, Store
from tests.simulation.loop import Process, Stuck, VirtualLoop, current_process

MODEL = "accounts.User"
CHAOS = 40.0
"""Virtual seconds in which things go wrong, if a run is not told otherwise."""
LEASE = 3.0
PATIENCE = 2_000.0
"""Virtual seconds after which what has not been handled counts as lost."""


@dataclass
class Parts:
    """What a run is made of; a planted bug replaces some of it."""

    redis: type[Redis] = Redis
    relay: type[Relay] = Relay
    store: type[Store] = Store
    inbox: type[Inbox] = Inbox
    locked_ids: bool = True
    """A producer draws the outbox id while it holds its row's lock."""
    faults: tuple[str, ...] | None = None
    """The only kinds of faults; all of them if None."""


@dataclass
class Member:
    """A process of the run, and what brings it up again."""

    process: Process
    network: Network
    start: Callable[[], "Member"]


@dataclass
class Outcome:
    """What a run showed."""

    seed: int
    report: Report
    commits: int
    faults: dict[str, int]
    steps: int
    decisions: int
    """About held rows."""
    deaths: int
    """Of processes, because of what they received."""
    digest: str
    """Of everything that was committed and heard, with times: equal for equal runs."""


@dataclass
class World:
    """Everything of a run."""

    seed: int
    parts: Parts = field(default_factory=Parts)
    chaos: float = CHAOS

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.loop = VirtualLoop()
        self.redis = self.parts.redis(self.loop.time)
        self.database = Database()
        # A group that joins after the first events receives only the retained events. These groups
        # exist from the start.
        self.database.groups[MODEL] = {"ledger", "mail"}
        self.inboxes = InboxTables()
        self.heard = {"plain": Heard(), "picky": Heard(), "held": Heard(), "batch": Heard()}
        self.mended: set[str] = set()
        """Released events, which no longer make the receiver with held rows fail."""
        self.decisions = 0
        self.deaths = 0
        self.members: list[Member] = []
        self.workers: dict[Process, Worker] = {}
        self.zombies: list[str] = []
        self.counts: dict[str, int] = {}
        self.trace = hashlib.blake2b(digest_size=8)
        self.partitions = self.random.randint(1, 3)
        self.subjects = [str(number) for number in range(1, self.random.randint(2, 7))]
        self.writing = True
        self.database_trouble = 0.0
        self.images: list[State] = []
        self._names = 0

    # Small parts

    def note(self, *what: object) -> None:
        self.trace.update(repr((round(self.loop.time(), 9), *what)).encode())

    async def pause(self, process: Process | None, step: str) -> None:
        """The database's delays and failures."""
        await asyncio.sleep(latency(self.random))
        if self.database_trouble and self.random.random() < self.database_trouble:
            raise DatabaseUnavailable(f"the database is away ({step})")

    def _process(self, kind: str) -> tuple[Process, Network, Broker]:
        self._names += 1
        process = Process(f"{kind}{self._names}")
        network = Network(self.redis, process, self.random, self.loop)
        return process, network, client(network)

    # Processes

    def start_service(self) -> Member:
        process, network, broker = self._process("service")
        store = self.parts.store(self.database, process, self.pause)
        bell = Bell()
        relay = self.parts.relay(
            store=cast(OutboxStore, store),
            broker=broker,
            service="accounts",
            models=lambda: {MODEL: self.partitions},
            settings=RelaySettings(
                chunk=self.random.choice((1, 3, 20)),
                page=self.random.choice((5, 50)),
                poll=0.3,
                lease=3.0,
                trim_every=2.0,
                keep=0.0,
                retention=86_400.0,
                backoff=1.0,
            ),
            bell=bell,
        )

        async def main() -> None:
            await relay.start()
            await asyncio.gather(*(self._produce(process, bell) for _ in range(2)))

        self.loop.spawn(process, main())
        return Member(process, network, self.start_service)

    def start_worker(self) -> Member:
        process, network, broker = self._process("worker")
        settings = WorkerSettings(
            concurrency=self.random.choice((1, 4, 16)),
            prefetch=self.random.choice((1, 4, 64)),
            lease=LEASE,
            grace=2.0,
            deadline=4.0,
            block=0.5,
            backoff=0.6,
        )
        subscriptions = self._subscriptions(process)
        worker = Worker(
            broker, [Subscriptions(name, subscriptions) for name in ("ledger", "mail")], settings
        )
        self.workers[process] = worker
        self.loop.spawn(process, worker.start())
        return Member(process, network, self.start_worker)

    def _subscriptions(self, process: Process) -> list[Subscription]:
        inbox = self.parts.inbox(self.inboxes, process, self.pause)

        async def write(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            await asyncio.sleep(self.random.choice((0.001, 0.02, 0.3)))
            self.note("write", event.id)
            inbox.write("write", Effect(event.subject, event.sequence, event.id))
            self._sometimes_fail()

        async def bulk(sender: Any, instances: Any, events: Any, **kwargs: Any) -> dict[str, Asked]:
            await asyncio.sleep(self.random.choice((0.001, 0.02, 0.3)))
            for event in events:
                self.note("bulk", event.id)
                inbox.write("bulk", Effect(event.subject, event.sequence, event.id))
            self._sometimes_fail()
            return self._ask_for_some(events)

        async def plain(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            await self._hear("plain", event)

        async def picky(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            if instance.poison:
                raise ValueError("never")
            await self._hear("picky", event)

        async def held(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
            if event.id not in self.mended:
                if instance.poison:
                    raise ValueError("not before somebody has seen to it")
                if instance.deadly:
                    await self._die(process)
            await self._hear("held", event)

        async def batch(
            sender: Any, instances: Any, events: Any, **kwargs: Any
        ) -> dict[str, Asked]:
            for event in events:
                self._begins("batch", event)
            await asyncio.sleep(self.random.choice((0.001, 0.02, 0.3)))
            self._sometimes_fail()
            asked = self._ask_for_some(events)
            self.heard["batch"].finished |= {event.id for event in events} - asked.keys()
            return asked

        size = Batch(self.random.choice((2, 5)), self.random.choice((0.02, 0.3)))
        hold = Options(name="held", retry=Retry(attempts=2, delay=0.1), on_exhausted="hold")
        patient = Retry(attempts=1_000, delay=0.2, factor=1.5, ceiling=2.0)
        return [
            self._subscription(
                "ledger", Receiver(write, Options(name="write", retry=patient, inbox=inbox))
            ),
            self._subscription(
                "ledger",
                Receiver(bulk, Options(name="bulk", retry=patient, inbox=inbox, batch=size)),
            ),
            self._subscription("mail", Receiver(held, hold)),
            self._subscription(
                "mail", Receiver(batch, Options(name="batch", retry=patient, batch=size))
            ),
            self._subscription("mail", Receiver(plain, Options(name="plain", retry=patient))),
            self._subscription(
                "mail", Receiver(picky, Options(name="picky", retry=Retry(attempts=3, delay=0.1)))
            ),
        ]

    def _subscription(self, group: str, receiver: Receiver) -> Subscription:
        return Subscription(
            group, MODEL, "post_save", receiver, MODEL, lambda row: Instance(row or {})
        )

    async def _hear(self, name: str, event: Any) -> None:
        self._begins(name, event)
        await asyncio.sleep(self.random.choice((0.001, 0.02, 0.3)))
        if name == "plain":
            self._sometimes_fail()
        self.heard[name].finished.add(event.id)

    def _begins(self, name: str, event: Any) -> None:
        self.note(name, event.id)
        self._look_for_zombies(name, event)
        # A dead letter that arrives again after a loss is no longer part of the order.
        if (name, event.id) not in self.redis.letters:
            self.heard[name].starts.append((event.subject, event.sequence, event.id))

    def _sometimes_fail(self) -> None:
        if self.random.random() < 0.1:
            raise RuntimeError("fails now and then")

    def _ask_for_some(self, events: Any) -> dict[str, Asked]:
        return {event.id: RetryLater(0.1) for event in events if self.random.random() < 0.05}

    async def _die(self, process: Process) -> None:
        """The process dies of what it handles."""
        await asyncio.sleep(self.random.choice((0.001, 0.5)))
        self.deaths += 1
        self.note("dies", process.name)
        self.loop.spawn(
            None, self._kill(next(one for one in self.members if one.process is process))
        )
        await asyncio.sleep(1e6)

    def _look_for_zombies(self, name: str, event: Any) -> None:
        """Record a call of a receiver while another process holds the lease.

        Calls soon after the server has lost its data, and the leases with it, do not count.
        """
        process = current_process.get()
        if process is None or self.loop.time() < self.redis.lost_at + LEASE:
            return
        partition = Partition(MODEL, partition_name(event.subject, "", self.partitions))
        holder = self.redis.holder(partition, "mail")
        mine = [consumer.worker for consumer in self.workers[process].consumers]
        if holder and not any(worker in holder for worker in mine):
            self.zombies.append(f"{name}: {event.id} in {process.name}")

    async def _produce(self, process: Process, bell: Bell) -> None:
        while self.writing:
            await asyncio.sleep(self.random.choice((0.01, 0.2, 1.0)))
            subjects = sorted(
                self.random.sample(
                    self.subjects, self.random.choice((1, 1, 1, min(2, len(self.subjects))))
                )
            )
            one = self.database.begin(process)
            for subject in subjects:
                early = None if self.parts.locked_ids else self.database.next_id()
                if not self.parts.locked_ids:
                    await asyncio.sleep(self.random.choice((0.001, 0.1)))
                await self.database.locks.take(subject, one)
                await asyncio.sleep(self.random.choice((0.001, 0.1)))
                number = early or self.database.next_id()
                label = partition_name(subject, "", self.partitions)
                poison, deadly = (self._maybe(share) for share in (0.05, 0.003))
                data = f'{{"instance":{{"id":{subject},"poison":{poison},"deadly":{deadly}}}}}'
                one.rows.append(
                    Row(number, Partition(MODEL, label), f"e{number}", subject, data, time.time())
                )
                await asyncio.sleep(self.random.choice((0.001, 0.05, 0.3)))
            if self.random.random() < 0.1:
                self.database.end(one)
                continue
            self.database.commit(one)
            self.note("commit", [row.id for row in one.rows])
            bell.ring()

    def _maybe(self, share: float) -> str:
        return "true" if self.random.random() < share else "false"

    # Held rows

    async def _operate(self) -> None:
        """Somebody looks at the held rows now and then, and decides about some of them."""
        _, _, broker = self._process("operator")
        while True:
            await asyncio.sleep(self.random.uniform(0.5, 4.0))
            for partition in partitions_of(MODEL, self.partitions):
                try:
                    await self._decide(broker, partition)
                except BrokerUnavailable:
                    continue

    async def _decide(self, broker: Broker, partition: Partition) -> None:
        for row, state in sorted((await broker.held(partition, "mail")).items()):
            parked = await broker.parked(partition, "mail", row)
            if state.retrying or not parked or (self.writing and self.random.random() < 0.3):
                continue
            skip = self.random.random() < 0.3
            if not skip and (not self.writing or self.random.random() < 0.8):
                self.mended.add(parked[0].letter.fields[b"id"].decode())
            self.note("decide", row, skip)
            self.decisions += await broker.decide(partition, "mail", row, skip=skip)

    # Faults

    def _count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.note("fault", kind)

    def _any_place(self) -> Partition | None:
        partitions = self.redis.partitions()
        return self.random.choice(partitions) if partitions else None

    async def _fault(self, kind: str) -> None:
        draw = self.random
        if not self.members:
            return  # all of them are dead at the moment
        member = draw.choice(self.members)
        partition = self._any_place()
        if kind == "kill":
            await self._kill(member)
        elif kind == "pause":
            member.process.paused = True
            await asyncio.sleep(draw.choice((0.5, 4.0, 9.0)))
            self.loop.resume(member.process)
        elif kind == "network":
            member.network.trouble = draw.choice((0.1, 0.5, 1.0))
            await asyncio.sleep(draw.uniform(0.5, 5.0))
            member.network.trouble = 0.0
        elif kind == "outage":
            self.redis.away = True
            await asyncio.sleep(draw.uniform(0.5, 6.0))
            self.redis.away = False
        elif kind == "full":
            self.redis.full = True
            await asyncio.sleep(draw.uniform(0.5, 6.0))
            self.redis.full = False
        elif kind == "flush":
            self.redis.lose_everything()
        elif kind == "failover":
            self.redis.restore(draw.choice(self.images[-6:]))
        elif kind == "server clock":
            self.redis.clock_offset += draw.choice((-30.0, -1.0, 1.0))
            self.redis.lost_at = (
                self.loop.time()
            )  # leases run by the server's clock: they may end early now
        elif kind == "process clock":
            member.process.clock_offset += draw.choice((-5.0, 5.0))
        elif kind == "database":
            self.database_trouble = draw.choice((0.2, 1.0))
            await asyncio.sleep(draw.uniform(0.3, 3.0))
            self.database_trouble = 0.0
        elif kind == "delete stream" and partition is not None:
            self.redis.delete_stream(partition)
        elif kind == "delete epoch" and partition is not None:
            self.redis.delete_epoch(partition)
        elif (
            kind == "destroy group" and partition is not None and self.redis.group_names(partition)
        ):
            self.redis.destroy_group(partition, draw.choice(self.redis.group_names(partition)))

    async def _kill(self, member: Member) -> None:
        if member not in self.members:
            return
        self.members.remove(member)
        self.loop.kill(member.process)
        self.database.died(member.process)
        self.inboxes.died(member.process)
        await asyncio.sleep(self.random.choice((0.0, 0.5, 5.0)))
        self.members.append(member.start())

    async def _chaos(self) -> None:
        kinds = self.parts.faults or KINDS
        running = []
        while self.loop.time() < self.chaos:
            await asyncio.sleep(self.random.expovariate(0.25))
            kind = self.random.choice(kinds)
            self._count(kind)
            running.append(asyncio.create_task(self._fault(kind)))
        await asyncio.gather(*running)

    async def _photograph(self) -> None:
        while True:
            self.images.append(self.redis.image())
            del self.images[:-6]
            await asyncio.sleep(0.7)

    # The run

    def _unfinished(self) -> bool:
        if any(row.status == 0 for row in self.database.rows.values()):
            return True
        ids = set(self.database.events)
        for name, heard in self.heard.items():
            if ids - heard.finished - self._given_up(name) - self._excused(name):
                return True
        written = [
            {effect.event_id for effect in self.inboxes.effects.get(name, ())}
            for name in ("write", "bulk")
        ]
        return any(ids - one for one in written)

    def _given_up(self, receiver: str) -> set[str]:
        return {event for name, event in self.redis.letters if name == receiver}

    def _excused(self, receiver: str) -> set[str]:
        return self.redis.lost_parked if receiver == "held" else set()

    async def main(self) -> None:
        for _ in range(self.random.randint(1, 2)):
            self.members.append(self.start_service())
        for _ in range(self.random.randint(1, 3)):
            self.members.append(self.start_worker())
        photographer = asyncio.create_task(self._photograph())
        self.loop.spawn(None, self._operate())
        await self._chaos()
        photographer.cancel()
        self.writing = False
        await asyncio.sleep(3.0)
        while self._unfinished() and self.loop.time() < PATIENCE:
            await asyncio.sleep(1.0)

    def run(self) -> Outcome:
        with _frozen(self), self._listening():
            try:
                self.loop.run_until_complete(self.main())
            except Stuck:
                self.note("stuck")
            return self._outcome()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        stop = telemetry.listen(
            lambda notice: self.note(notice.name, sorted(notice.values().items(), key=str))
        )
        try:
            yield
        finally:
            stop()

    def _outcome(self) -> Outcome:
        report = Report()
        committed, ids = self.database.committed, set(self.database.events)
        for name, heard in self.heard.items():
            heard.finished |= self._given_up(name)
            returned = self.redis.returned_parked if name == "held" else set()
            check_group(report, name, heard, committed, ids, self._excused(name), returned)
        for name in ("write", "bulk"):
            check_effects(report, name, self.inboxes.effects.get(name, []), committed)
        if report.excused and not {"flush", "failover"} & self.counts.keys():
            report.add("excused", "Redis has lost nothing in this run")
        for zombie in self.zombies:
            report.add("zombie", zombie)
        check_streams(report, self.redis.appended, self.database.events, self.redis.repeated)
        counts = dict(self.counts)
        return Outcome(
            self.seed,
            report,
            len(ids),
            counts,
            self.loop.steps,
            self.decisions,
            self.deaths,
            self.trace.hexdigest(),
        )


KINDS = (
    "kill",
    "kill",
    "pause",
    "pause",
    "network",
    "network",
    "outage",
    "full",
    "flush",
    "failover",
    "server clock",
    "process clock",
    "database",
    "delete stream",
    "delete epoch",
    "destroy group",
)


@contextmanager
def _frozen(world: World) -> Iterator[None]:
    """The clocks and the randomness of the program are the run's own."""
    draw = Random(world.seed + 1)

    def now() -> float:
        process = current_process.get()
        return (
            1_000_000.0 + world.loop.time() + (process.clock_offset if process is not None else 0.0)
        )

    kept = (time.time, secrets.token_hex, random_module.random)
    time.time, secrets.token_hex, random_module.random = (
        now,
        lambda n=8: draw.randbytes(n).hex(),
        draw.random,
    )
    try:
        yield
    finally:
        time.time, secrets.token_hex, random_module.random = kept


def own_collecting() -> None:
    """Leave garbage collection to `simulate`, which collects at the end of each run.

    Freeze the objects of the program, so that later collections do not visit them again.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def simulate(seed: int, parts: Parts | None = None, chaos: float = CHAOS) -> Outcome:
    """Run one seed; things go wrong for `chaos` virtual seconds."""
    with _quiet():
        world = World(seed, parts or Parts(), chaos)
        try:
            return world.run()
        finally:
            _abandon(world.loop)
            del world
            gc.collect()


def _abandon(loop: VirtualLoop) -> None:
    """What still runs at the end is dropped, as a killed process is."""
    for task in loop.tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.set_exception_handler(lambda *_: None)
    loop._ready.clear()
    loop._scheduled.clear()
    loop.tasks.clear()
    loop.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of coroutines that are collected in the middle of an await."""
    kept, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = kept
