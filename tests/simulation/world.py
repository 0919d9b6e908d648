"""Simulate a run of services, relays, workers of two groups, and faults, determined by a seed."""

import asyncio
import gc
import hashlib
import os
import random as random_module
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast
from unittest import mock

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Lease
from edgy_bus.environment import FOLLOW_STDIN
from edgy_bus.errors import BrokerUnavailable, DatabaseUnavailable
from edgy_bus.events import Partition, partition_name, partitions_of
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.retrying import Asked, Retry, RetryLater
from edgy_bus.runtime import keeper
from edgy_bus.runtime.assignment import Post
from edgy_bus.runtime.hosts import InTask, Run
from edgy_bus.runtime.inbox import Positions as RealPositions
from edgy_bus.runtime.pruning import InboxPruner
from edgy_bus.runtime.subscriptions import Snapshot as Instance
from edgy_bus.runtime.subscriptions import Subscription, Subscriptions
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.worker import Worker
from edgy_bus.services import Bell
from edgy_bus.settings import RelaySettings, WorkerSettings
from edgy_bus.signals import Batch, Options, Receiver
from edgy_bus.telemetry import catalogue
from tests.simulation.broker import Network, Redis, State, client, latency
from tests.simulation.checker import Heard, Report, check_effects, check_group, check_streams
from tests.simulation.database import (
    Database,
    Effect,
    Inbox,
    InboxTables,
    Positions,
    Row,
    Store,
)
from tests.simulation.loop import Process, Stuck, VirtualLoop, current_process, in_thread

MODEL = "accounts.User"
CHAOS = 40.0
"""Virtual seconds in which things go wrong, if a run is not told otherwise."""
LEASE = 3.0
MAX_BLOCKED = 4.0
DIED = "the process of its worker ended"
"""How the reason begins for which an event is given up without an error of its receiver."""
IN_FLIGHT = 10.0
"""Virtual seconds after which no renewal can arrive that was sent before."""
OVERSIZED = 0.05
"""The share of events that are larger than the budgets of some processes."""
DRAINED = 400.0
"""Virtual seconds in which workers that begin anew must drain a server that is full."""
PATIENCE = 2_000.0
"""Virtual seconds after which what has not been handled counts as lost."""
STILL = 600.0
"""Virtual seconds without progress after which a run ends, and what is left counts as lost.

The longest time without progress in 70 runs that settled was 101 s. Most planted bugs lose
something or repeat something for ever: their runs would go on until the end of `PATIENCE`, which
takes many times as long as the run itself.
"""


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
    forgets_after: float | None = None
    """Seconds after which workers forget positions of the inbox; None for never.

    Only for faults by which Redis loses nothing: events of any age come again after a loss.
    """


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
    forgotten: int
    """Positions of inboxes."""
    digest: str
    """Of everything that was committed and heard, with times: equal for equal runs."""


@dataclass(eq=False)
class Call:
    """A call of a receiver without an inbox that runs."""

    process: Process
    receiver: str
    rows: frozenset[str]
    tenures: Sequence[Tenure]
    begun: float


class InSimulatedThread(InTask):
    """Runs the keeper of leases, which goes on while the event loop of its process is blocked."""

    def start(self, run: Run) -> None:
        context = copy_context()
        context.run(in_thread.set, True)
        self._task = asyncio.get_running_loop().create_task(run(self._stopping), context=context)


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
        self.inboxes = InboxTables(self.loop.time)
        self.forgotten = 0
        self.heard = {"plain": Heard(), "picky": Heard(), "held": Heard(), "batch": Heard()}
        self.mended: set[str] = set()
        """Released events, which no longer make the receiver with held rows fail."""
        self.decisions = 0
        self.deaths = 0
        self.members: list[Member] = []
        self.workers: dict[Process, Worker] = {}
        self.zombies: list[str] = []
        self.wrongs: list[tuple[str, str]] = []
        """Kind and text of what went wrong with leases."""
        self.running_calls: list[Call] = []
        self.refused: list[Tenure] = []
        """Tenures that ended because of an answer of the broker."""
        self.counts: dict[str, int] = {}
        self.trace = hashlib.blake2b(digest_size=8)
        self.partitions = self.random.randint(1, 3)
        self.subjects = [str(number) for number in range(1, self.random.randint(2, 7))]
        self.writing = True
        self.database_trouble = 0.0
        self.images: list[State] = []
        """Copies of the data, the newest last."""
        self.left_on_full: list[str] = []
        """What programs that began anew have not drained from a server that is full."""
        self.settled = False
        self.all_back = True
        """Whether every program has every receiver, so that none may stay aside."""
        self.outlived_rows: set[str] = set()
        """Rows with an event whose last attempt ended with its process, while the server is full:
        the event cannot be put aside."""
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
        network.refused = lambda lease: self._refused(process, lease)
        return process, network, client(network)

    # Processes

    def start_service(self) -> Member:
        process, network, broker = self._process("service")
        store = self.parts.store(self.database, process, self.pause)
        bell = Bell()
        relay = self.parts.relay(
            store=cast(OutboxStore, store),
            broker=broker,
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
                page_bytes=self.random.choice((1_000, 8_000_000)),
                chunk_bytes=self.random.choice((1_000, 1_000_000)),
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
            max_blocked=MAX_BLOCKED,
            grace=2.0,
            deadline=4.0,
            block=0.5,
            backoff=0.6,
            fetch_bytes=self.random.choice((1_000, 4_000_000)),
            in_hand_bytes=self.random.choice((2_000, 16_000_000)),
        )
        subscriptions = self._subscriptions(process)
        worker = Worker(
            broker, [Subscriptions(name, subscriptions) for name in ("ledger", "mail")], settings
        )
        self.workers[process] = worker
        self.loop.spawn(process, worker.start())
        if self.parts.forgets_after is not None:
            positions = Positions(self.inboxes, process, self.pause)
            pruner = InboxPruner(
                broker, "ledger", cast(RealPositions, positions), self.parts.forgets_after
            )
            self.loop.spawn(process, pruner.start())
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
            with self._calling("batch", events):
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
        with self._calling(name, [event]):
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
        is_aside = self.redis.is_aside(partition, "mail", name)
        holder = self.redis.holder(partition, f"mail/{name}" if is_aside else "mail")
        mine = [consumer.worker for consumer in self.workers[process].consumers]
        if holder and not any(worker in holder for worker in mine):
            self.zombies.append(f"{name}: {event.id} in {process.name}")

    # Leases

    @contextmanager
    def _calling(self, receiver: str, events: Sequence[Any]) -> Iterator[None]:
        """Record a call while it runs, and look at its beginning and at its cancellation."""
        process = current_process.get()
        assert process is not None
        rows = frozenset(event.subject for event in events)
        places = {Partition(MODEL, partition_name(row, "", self.partitions)) for row in rows}
        tenures = [self._tenure(process, place, receiver) for place in sorted(places)]
        call = Call(process, receiver, rows, tenures, self.loop.time())
        self._look_for_overlaps(call)
        self.running_calls.append(call)
        try:
            yield
        except asyncio.CancelledError:
            self._look_at_cancellation(call)
            raise
        finally:
            self.running_calls.remove(call)

    def _tenure(self, process: Process, partition: Partition, receiver: str) -> Tenure:
        """Return the tenure that calls a receiver: of the group, or of the receiver's own group."""
        (consumer,) = (one for one in self.workers[process].consumers if one.group == "mail")
        whole = consumer._tenures.get(Post(partition, "mail"))
        if whole is not None and whole._detours.attendance.handles(receiver):
            return whole
        own = consumer._tenures.get(Post(partition, f"mail/{receiver}"))
        tenure = own if own is not None else whole
        assert tenure is not None, f"{receiver} is called without a tenure of {partition}"
        return tenure

    def _wrong(self, kind: str, text: str) -> None:
        self.wrongs.append((kind, f"{text} at {self.loop.time():.3f}"))

    def _look_for_overlaps(self, call: Call) -> None:
        """Record a call that begins while another process runs a call of the same row."""
        now = self.loop.time()
        if now < self.redis.lost_at + LEASE:
            return
        for other in self.running_calls:
            process = other.process
            if process is call.process or other.receiver != call.receiver:
                continue
            if not process.alive or process.paused or process.woken_at == now:
                continue
            if process.blocked and all(one.term.valid_until <= now for one in other.tenures):
                continue  # it cannot end its call, and its keeper could not renew the lease
            if call.rows & other.rows:
                self._wrong("overlap", f"{call.receiver}: {call.process} beside {process}")

    def _look_at_cancellation(self, call: Call) -> None:
        """Record a call that was cancelled by a timer though its lease holds."""
        lost = [one for one in call.tenures if one.lost and one not in self.refused]
        if not lost or self.redis.lost_at > 0:
            return
        if all(tenure.term.valid_until > self.loop.time() for tenure in lost):
            self._wrong("cancelled", f"{call.receiver} in {call.process}")

    def _refused(self, process: Process, lease: Lease) -> None:
        calls = [
            one for one in self.running_calls if any(each.lease == lease for each in one.tenures)
        ]
        self.loop.spawn(None, self._look_for_stubborn(process, calls))

    async def _look_for_stubborn(self, process: Process, calls: Sequence[Call]) -> None:
        """Record calls that go on after the process has learned that their lease is lost."""
        await asyncio.sleep(0.05)
        awake = not (process.paused or process.blocked)
        if process.alive and awake and process.woken_at < self.loop.time() - 0.05:
            for call in calls:
                if call in self.running_calls:
                    self._wrong("stubborn", f"{call.receiver} in {process}")

    async def _block(self, member: Member, seconds: float) -> None:
        """Block the event loop of a process, and look at its leases meanwhile."""
        process = member.process
        if process.blocked or process not in self.workers:
            return
        began, held = self.loop.time(), self._held(process) & self._kept(process)
        self.loop.block(process)
        await asyncio.sleep(min(seconds, MAX_BLOCKED - 1.0))
        # An older copy has leases that end earlier: perhaps before the next renewal.
        is_known = self.redis.lost_at < began - LEASE
        undisturbed = member.network.disturbed_at < began and is_known
        if undisturbed and process.alive and not process.paused and process.woken_at < began:
            for name in sorted(held - self._held(process)):
                self._wrong("forfeited", f"{name} of {process}, whose loop is blocked")
        await asyncio.sleep(max(0.0, seconds - MAX_BLOCKED + 1.0))
        given_up = MAX_BLOCKED + LEASE + IN_FLIGHT
        if seconds > given_up and process.alive and self.redis.lost_at < began:
            for name in sorted(self._held(process)):
                self._wrong("hoarded", f"{name} of {process}")
        self.loop.unblock(process)

    def _kept(self, process: Process) -> set[str]:
        """Return the leases and memberships that the keeper of a process knows.

        A lease whose acquisition has no answer yet has no tenure; such a lease runs out.
        """
        consumers = [one for one in self.workers[process].consumers if one.running]
        return {f"membership in {consumer.group}" for consumer in consumers} | {
            f"{post.partition} for {post.role}"
            for consumer in consumers
            for post, tenure in consumer._tenures.items()
            if tenure.running and tenure.term.may_begin()
        }

    def _held(self, process: Process) -> set[str]:
        """Return the leases and memberships of a process, as the server knows them."""
        names = {consumer.worker: consumer.group for consumer in self.workers[process].consumers}
        held = {
            f"{partition} for {group}"
            for partition in self.redis.partitions()
            for worker, group in names.items()
            if worker in self.redis.holder(partition, group)
        }
        return held | {f"membership in {names[one]}" for one in self.redis.alive() & names.keys()}

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
                pad = "x" * (3_000 if self.random.random() < OVERSIZED else 0)
                row = f'"id":{subject},"poison":{poison},"deadly":{deadly},"pad":"{pad}"'
                data = f'{{"instance":{{{row}}}}}'
                place, now = Partition(MODEL, label), self.loop.time()
                one.rows.append(Row(number, place, f"e{number}", subject, data, now))
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
        elif kind == "block":
            await self._block(member, draw.choice((0.5, 2.0, 6.0, 25.0)))
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
            self._restore(len(self.images) - draw.randint(1, min(6, len(self.images))))
        elif kind == "snapshot":
            # Any state of the run, as the default configuration of Redis restores minutes-old data.
            self._restore(draw.randrange(len(self.images)))
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

    def _restore(self, number: int) -> None:
        """Bring an older copy of the data back. The history behind that copy is gone for good."""
        self.redis.restore(self.images[number])
        del self.images[number + 1 :]

    async def _restart_full(self) -> None:
        """The server is full, and every program begins anew: what can be finished must be."""
        self._count("full restart")
        self.redis.full = True
        await asyncio.gather(*(self._kill(member) for member in list(self.members)))
        waiting = self.redis.rows_to_wait()
        until = self.loop.time() + DRAINED
        while (left := self._undrained(waiting | self.outlived_rows)) and self.loop.time() < until:
            await asyncio.sleep(1.0)
        self.left_on_full = left
        self.redis.full = False

    def _undrained(self, waiting: set[str]) -> list[str]:
        left = [
            event
            for group in ("ledger", "mail")
            for event in self.redis.undrained(group, waiting if group == "mail" else ())
        ]
        # Trimming comes last, and waits for the rows that wait.
        return left or ([] if waiting else self.redis.untrimmed())

    async def _kill(self, member: Member) -> None:
        if member not in self.members:
            return
        self.members.remove(member)
        self.loop.kill(member.process)
        self.database.died(member.process)
        self.inboxes.died(member.process)
        await asyncio.sleep(self.random.choice((0.0, 0.5, 5.0)))
        self.members.append(member.start())

    def end_process(self, status: int) -> None:
        """End the process of the caller, as its keeper does under a supervisor."""
        process = current_process.get()
        self.note("ended", process, status)
        for member in self.members:
            if member.process is process:
                self.loop.spawn(None, self._kill(member))

    async def _chaos(self) -> None:
        # Not among the others: only afterwards must everything be drained.
        kinds = [kind for kind in self.parts.faults or KINDS if kind != "full restart"]
        running = []
        while self.loop.time() < self.chaos:
            await asyncio.sleep(self.random.expovariate(0.25))
            if not kinds:
                continue
            kind = self.random.choice(kinds)
            self._count(kind)
            running.append(asyncio.create_task(self._fault(kind)))
        await asyncio.gather(*running)

    async def _photograph(self) -> None:
        while True:
            self.images.append(self.redis.image())
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
        self.writing = False
        written = len(self.images)
        await asyncio.sleep(3.0)
        if "full restart" in (self.parts.faults or KINDS):
            await self._restart_full()
        await self._until(lambda: not self._unfinished())
        if "snapshot" in (self.parts.faults or KINDS) and self.random.random() < 0.5:
            # Now nothing new happens to a row that would hide an old state.
            # Half of the copies have every entry, and lack acknowledgements.
            self._count("snapshot")
            first = self.random.choice((0, written))
            self._restore(self.random.randrange(first, len(self.images)))
        photographer.cancel()
        # Repeats too: a receiver may be called again with an older event, and soon with the newer.
        self.settled = await self._until(self._is_settled)

    def _is_settled(self) -> bool:
        """Return whether the outbox agrees with all streams, and nothing is left to handle."""
        streams = self.database.streams.items()
        agree = all(self.redis.stands_at(partition, stream.head) for partition, stream in streams)
        if self.all_back and self.redis.all_aside():
            return False
        return agree and not self._unfinished() and self.redis.is_finished()

    async def _until(self, settled: Callable[[], bool]) -> bool:
        progress, since = self._progress(), self.loop.time()
        while not settled() and self.loop.time() < min(PATIENCE, since + STILL):
            await asyncio.sleep(1.0)
            if (now := self._progress()) != progress:
                progress, since = now, self.loop.time()
        return settled()

    def _progress(self) -> tuple[int, ...]:
        """Return how much is done. What is only repeated, perhaps for ever, changes nothing."""
        effects = self.inboxes.effects.values()
        return (
            sum(len(heard.finished) for heard in self.heard.values()),
            sum(len({effect.event_id for effect in made}) for made in effects),
            len(self.redis.letters),
        )

    def run(self) -> Outcome:
        with _frozen(self), self._listening():
            try:
                self.loop.run_until_complete(self.main())
            except Stuck:
                self.note("stuck")
            return self._outcome()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        stop = telemetry.listen(self._listen)
        try:
            yield
        finally:
            stop()

    def _listen(self, notice: telemetry.Notice) -> None:
        self.note(notice.name, sorted(notice.values().items(), key=str))
        if isinstance(notice, catalogue.InboxPruned):
            self.forgotten += notice.count
        if isinstance(notice, catalogue.ReceiverGaveUp) and notice.reason.startswith(DIED):
            self._outlived(notice.event_id)

    def _outlived(self, event: str) -> None:
        if self.redis.full:
            row, _ = self.database.events[event]
            self.outlived_rows.add(row)

    def _outcome(self) -> Outcome:
        report = Report()
        committed, ids = self.database.committed, set(self.database.events)
        for name, heard in self.heard.items():
            heard.finished |= self._given_up(name)
            returned = self.redis.returned_parked if name == "held" else set()
            check_group(report, name, heard, committed, ids, self._excused(name), returned)
        for name in ("write", "bulk"):
            check_effects(report, name, self.inboxes.effects.get(name, []), committed)
        if report.excused and not {"flush", "failover", "snapshot"} & self.counts.keys():
            report.add("excused", "Redis has lost nothing in this run")
        if not self.settled:
            report.add("unsettled", "entries that nobody handles, or an outbox apart from a stream")
        for event in self.left_on_full:
            report.add("undrained", event)
        for zombie in self.zombies:
            report.add("zombie", zombie)
        for kind, text in self.wrongs:
            report.add(kind, text)
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
            self.forgotten,
            self.trace.hexdigest(),
        )


KINDS = (
    "kill",
    "kill",
    "pause",
    "pause",
    "block",
    "block",
    "network",
    "network",
    "outage",
    "full",
    "flush",
    "failover",
    "snapshot",
    "server clock",
    "process clock",
    "database",
    "delete stream",
    "delete epoch",
    "destroy group",
    "full restart",
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

    def failed(tenure: Tenure, error: BaseException) -> None:
        world.refused.append(tenure)
        end(tenure, error)

    end = Tenure._failed
    supervised = {FOLLOW_STDIN: "1"} if world.seed % 2 else {}
    kept = (time.time, secrets.token_hex, random_module.random)
    time.time, secrets.token_hex, random_module.random = (
        now,
        lambda n=8: draw.randbytes(n).hex(),
        draw.random,
    )
    try:
        with (
            mock.patch.object(keeper, "InTask", InSimulatedThread),
            mock.patch.object(keeper, "end_process", world.end_process),
            mock.patch.object(Tenure, "_failed", failed),
            mock.patch.dict(os.environ, supervised),
        ):
            yield
    finally:
        time.time, secrets.token_hex, random_module.random = kept


def own_collecting() -> None:
    """Leave garbage collection to `simulate`, which collects at the end of each run."""
    gc.collect()
    gc.freeze()
    gc.disable()


def simulate(
    seed: int,
    parts: Parts | None = None,
    chaos: float = CHAOS,
    kind: Callable[[int, Parts, float], World] = World,
) -> Outcome:
    """Run one seed of a kind of world; things go wrong for `chaos` virtual seconds."""
    with _quiet():
        world = kind(seed, parts or Parts(), chaos)
        try:
            return world.run()
        finally:
            _abandon(world.loop)
            del world
            gc.collect()
            if not gc.isenabled():
                # Some objects outlive their run: every later collection would visit them again, and
                # after a hundred runs that takes longer than the runs.
                gc.freeze()


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
