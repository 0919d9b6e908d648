"""Leases and memberships are kept beside an event loop that a receiver blocks."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from edgy_bus.brokers.base import Capabilities, Lease, Members
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.codec import loads
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import partitions_of
from edgy_bus.runtime import keeper as keeper_module
from edgy_bus.runtime.keeper import Keeper
from edgy_bus.runtime.leases import Membership
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import PARTITION, Told, block, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

SETTINGS = WorkerSettings(lease=0.4, block=0.05, backoff=0.05, grace=5.0)


class Shared(MemoryBroker):
    """A broker in memory that takes calls of other threads, as Redis does, and remembers them."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        durable=False, shared_between_processes=False, serves_many_loops=True, bounded=False
    )

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.joined: list[tuple[int, bytes]] = []
        self.closed: list[int] = []
        self.hanging = 0
        self.renewals = 0

    async def renew_all(self, leases: Sequence[Lease], ttl: float) -> Any:
        self.threads.add(threading.get_ident())
        self.renewals += 1
        if self.hanging:
            self.hanging -= 1
            await asyncio.sleep(3600)
        return await super().renew_all(leases, ttl)

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        self.joined.append((threading.get_ident(), report))
        return await super().join(group, worker, ttl, report)

    async def close(self) -> None:
        self.closed.append(threading.get_ident())


def worker_on(broker: MemoryBroker, function: Any, **settings: Any) -> Worker:
    subscriptions = Subscriptions("mail", [subscribe(function, name="convert_pdf")])
    return Worker(broker, [subscriptions], SETTINGS.model_copy(update=settings))


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "keeper" in thread.name]


async def _nothing(sender: Any, **kwargs: Any) -> None: ...


async def test_a_receiver_that_blocks_for_many_leases_loses_no_lease_and_runs_once() -> None:
    calls: list[int] = []

    async def blocking(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        if event.sequence == 1:
            block(2.0)

    broker = Shared()
    await publish(broker, event("1", 1), event("1", 2))
    with Told() as told:
        async with worker_on(broker, blocking):
            await eventually(lambda: len(calls) == 2)
            await eventually(lambda: told.of("loop.freed"))
    assert calls == [1, 2]
    assert told.of("tenure.lost") == []
    (blocked,) = told.of("loop.blocked")
    assert blocked["receiver"] == "convert_pdf"
    assert blocked["line"].endswith("in block")
    assert "in blocking > " in blocked["stack"]
    (freed,) = told.of("loop.freed")
    assert freed["receiver"] == "convert_pdf"
    assert 1.5 < freed["seconds"] < 4.0


async def test_a_worker_that_is_blocked_stays_a_member_and_keeps_its_report() -> None:
    members: list[Members] = []

    async def blocking(sender: Any, **kwargs: Any) -> None:
        block(1.2)
        members.append(await broker.members("mail"))

    broker = Shared()
    await publish(broker, event("1", 1))
    async with worker_on(broker, blocking) as worker:
        await eventually(lambda: members)
        name = worker.consumers[0].worker
        here = threading.get_ident()
        assert any(thread != here for thread, _ in broker.joined)
        assert all(report for _, report in broker.joined)
    assert members[0].alive == [name]
    assert members[0].reports[name]
    assert (await broker.members("mail")).alive == [], "it has left, and does not come back"


async def test_a_worker_that_is_not_blocked_is_registered_by_its_rounds_alone() -> None:
    broker = Shared()
    await publish(broker, event("1", 1))
    # A lease so long that no round on a busy machine is late, and two renewals that would join.
    async with worker_on(broker, _nothing, lease=4.0):
        await eventually(lambda: broker.renewals >= 2)
    assert {thread for thread, _ in broker.joined} == {threading.get_ident()}


async def test_a_worker_that_leaves_while_it_is_registered_leaves_again() -> None:
    entered, go = threading.Event(), threading.Event()

    class Slow(Shared):
        async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
            entered.set()
            await asyncio.to_thread(go.wait, 5)
            return await super().join(group, worker, ttl, report)

    broker = Slow()
    membership = Membership("mail", "w", {})
    async with Keeper(broker, SETTINGS.model_copy(update={"lease": 4.0})) as keeper:
        with keeper.keeping(membership):
            await asyncio.to_thread(entered.wait, 5)
            membership.has_left = True
            await broker.leave("mail", "w")
            go.set()
    assert broker.joined
    assert (await broker.members("mail")).alive == []


async def test_leases_run_out_when_the_loop_is_blocked_for_longer_than_the_limit() -> None:
    calls: list[int] = []

    async def blocking(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.sequence)
        if len(calls) == 1:
            block(2.5)

    broker = Shared()
    await publish(broker, event("1", 1), event("1", 2))
    with Told() as told:
        async with worker_on(broker, blocking, max_blocked=1.0):
            await eventually(lambda: 2 in calls)
    assert told.of("tenure.lost")
    (surrender,) = told.of("loop.given_up")
    assert surrender["receiver"] == "convert_pdf"
    assert 0.9 < surrender["seconds"] < 2.4
    assert calls == [1, 2], "this process knows that it has handled the first"


async def test_one_renewal_that_hangs_costs_no_lease() -> None:
    """Its connection is dead without a word. The next renewal has another connection."""
    broker = Shared()
    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, _nothing, lease=1.0) as worker:
            await eventually(lambda: worker.consumers and worker.consumers[0].partitions)
            for _ in range(2):
                broker.hanging = 1
                await eventually(lambda: not broker.hanging)
                before = broker.renewals
                await eventually(lambda before=before: broker.renewals > before + 2)
    assert told.of("tenure.lost") == []
    assert len(told.of("leases.unanswered")) == 2


async def test_renewals_that_all_hang_do_not_pile_up() -> None:
    broker = Shared()
    broker.hanging = 10_000
    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, _nothing, lease=1.0):
            await eventually(lambda: told.of("tenure.lost"))
            before = time.monotonic()
            await asyncio.sleep(1.0)
            spent = time.monotonic() - before
    # Two at a time, each for half a lease.
    assert broker.renewals <= 4 * (spent + 2.0) / 1.0
    assert len(told.of("leases.unanswered")) == 1


async def test_a_refused_renewal_ends_the_tenure_at_once() -> None:
    entered, cancelled = asyncio.Event(), list[float]()

    async def waiting(sender: Any, **kwargs: Any) -> None:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(time.monotonic())
            raise

    broker = Shared()
    await publish(broker, event("1", 1))
    long = 40.0
    async with worker_on(broker, waiting, lease=long):
        await entered.wait()
        broker._streams[PARTITION].leases.clear()
        (membership,) = _memberships()
        (tenure,) = membership.tenures.values()
        assert tenure.term.may_begin()
        lost_at = time.monotonic()
        await eventually(lambda: cancelled or time.monotonic() > lost_at + 12)
        assert cancelled, "long before the lease would have run out"


def _memberships() -> Sequence[Membership]:
    (keeper,) = Remembering.keepers
    return keeper._renewal._memberships


class Remembering(Keeper):
    keepers: ClassVar[list[Keeper]] = []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.keepers.append(self)


@pytest.fixture(autouse=True)
def _remember(monkeypatch: pytest.MonkeyPatch) -> None:
    Remembering.keepers = []
    monkeypatch.setattr("edgy_bus.runtime.worker.Keeper", Remembering)


# Ends


async def test_the_thread_ends_with_its_worker_and_closes_its_own_connections() -> None:
    for end in ("stop", "abort"):
        broker = Shared()
        await publish(broker, event("1", 1))
        worker = worker_on(broker, _nothing)
        await worker.start()
        await eventually(lambda broker=broker: broker.threads)
        assert _threads() == ["edgy_bus keeper"]
        await getattr(worker, end)()
        assert _threads() == []
        assert set(broker.closed) == broker.threads
        assert threading.get_ident() not in broker.threads


async def test_a_worker_that_is_stopped_while_its_loop_was_blocked_ends() -> None:
    async def blocking(sender: Any, **kwargs: Any) -> None:
        asyncio.get_running_loop().call_soon(worker.ask_to_stop)
        block(1.0)

    broker = Shared()
    await publish(broker, event("1", 1))
    worker = worker_on(broker, blocking)
    with Told() as told:
        await worker.start()
        await worker.wait()
    assert told.of("tenure.lost") == []
    assert _threads() == []
    assert broker._streams[PARTITION].leases == {}, "the lease was given back"


async def test_a_receiver_that_blocks_while_the_worker_drains_keeps_its_lease() -> None:
    entered = asyncio.Event()
    ended: list[None] = []

    async def blocking(sender: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.sleep(0.1)
        block(1.2)
        await asyncio.sleep(0.1)
        ended.append(None)

    broker = Shared()
    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, blocking):
            await entered.wait()
    assert ended == [None]
    assert told.of("tenure.lost") == []


def test_a_worker_works_in_one_loop_after_another() -> None:
    broker = Shared()

    async def live() -> None:
        async with worker_on(broker, _nothing):
            await asyncio.sleep(0.3)

    asyncio.run(publish(broker, event("1", 1)))
    for _ in range(3):
        asyncio.run(live())
    assert len(broker.threads) >= 1
    assert _threads() == []


_LEAVES = """
import asyncio, os, sys, threading, time
from tests.unit.runtime.test_keeper import Shared, _nothing, _threads, worker_on
worker = worker_on(Shared(), _nothing)
loop = asyncio.new_event_loop()
loop.run_until_complete(worker.start())
loop.run_until_complete(asyncio.sleep(0.2))
print(len(_threads()))
"""

_CLOSES = """
loop.close()
deadline = time.monotonic() + 10
while _threads() and time.monotonic() < deadline:
    time.sleep(0.02)
print(len(_threads()), flush=True)
os._exit(0)  # the tasks of the closed loop are of no interest
"""


def _python(program: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_an_interpreter_that_ends_without_a_stop_ends_cleanly() -> None:
    status, output, errors = _python(_LEAVES)
    assert (status, output) == (0, "1\n")
    assert "Fatal" not in errors


_DOES_NOT_ANSWER = """
from edgy_bus.runtime.keeper import Keeper
Keeper._answer = lambda self: None
"""


@pytest.mark.parametrize("before", ["", _DOES_NOT_ANSWER], ids=["answers", "owes an answer"])
def test_a_loop_that_is_closed_without_a_stop_ends_the_thread(before: str) -> None:
    status, output, _ = _python(before + _LEAVES + _CLOSES)
    assert (status, output) == (0, "1\n0\n")


# Under a supervisor


async def test_a_process_that_hangs_ends_under_a_supervisor_and_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(keeper_module, "end_process", lambda status: ended.set())
    monkeypatch.setenv("EDGY_BUS_FOLLOW_STDIN", "1")

    async def hanging(sender: Any, **kwargs: Any) -> None:
        assert ended.wait(10)

    broker = Shared()
    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, hanging, max_blocked=1.2):
            await eventually(ended.is_set)
            await eventually(lambda: told.of("process.ended"))
    assert told.of("process.ended")[0]["receiver"] == "convert_pdf"
    assert told.of("process.ended")[0]["line"].endswith("in hanging")


async def test_a_process_without_a_supervisor_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "end_process", lambda status: pytest.fail("it ended"))
    monkeypatch.delenv("EDGY_BUS_FOLLOW_STDIN", raising=False)
    calls: list[None] = []

    async def blocking(sender: Any, **kwargs: Any) -> None:
        if not calls:
            calls.append(None)
            block(1.5)
        calls.append(None)

    broker = Shared()
    await publish(broker, event("1", 1), event("1", 2))
    with Told() as told:
        async with worker_on(broker, blocking, max_blocked=0.5):
            await eventually(lambda: len(calls) >= 3)
    assert told.of("process.ended") == []


# The broker in memory, which serves one loop


async def test_a_broker_of_one_loop_has_a_keeper_in_that_loop() -> None:
    broker = MemoryBroker()
    await broker.declare("accounts.User", 4)
    with Told() as told:
        async with worker_on(broker, _nothing) as worker:
            await eventually(lambda: len(_held(worker)) == 4)
            await asyncio.sleep(1.0)
            assert _threads() == []
            assert len(_held(worker)) == 4
    assert told.of("tenure.lost") == []
    assert list(partitions_of("accounts.User", 4))


def _held(worker: Worker) -> list[Any]:
    return [name for consumer in worker.consumers for name in consumer.partitions]


async def test_a_standstill_of_everything_is_reported() -> None:
    async def blocking(sender: Any, **kwargs: Any) -> None:
        block(1.6)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, blocking, lease=4.0):
            await eventually(lambda: told.of("process.stood_still"))
    (standstill,) = told.of("process.stood_still")
    assert 1.0 < standstill["seconds"] < 3.0


async def test_an_error_of_the_keeper_is_reported_once_and_the_keeper_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Shared()
    await publish(broker, event("1", 1))
    broken = True
    look = keeper_module.look

    def sometimes(*args: Any, **kwargs: Any) -> Any:
        if broken:
            raise RuntimeError("a mistake")
        return look(*args, **kwargs)

    monkeypatch.setattr(keeper_module, "look", sometimes)
    with Told() as told:
        async with worker_on(broker, _nothing) as worker:
            await eventually(lambda: told.of("tenure.lost"))
            assert [fields["service"] for fields in told.of("service.failed")] == ["Keeper"]
            broken = False
            await eventually(lambda: broker.renewals > 2)
            await eventually(lambda: len(_held(worker)) == 1)


async def test_a_broker_that_is_away_is_asked_again() -> None:
    class Away(Shared):
        away = True

        async def renew_all(self, leases: Sequence[Lease], ttl: float) -> Any:
            if self.away and leases:
                self.renewals += 1
                raise BrokerUnavailable("away")
            return await super().renew_all(leases, ttl)

    broker = Away()
    group = Group(broker, subscribe(_nothing), lease=4.0)
    await publish(broker, event("1", 1))
    tenure = await group.begin(lasts=3.0)
    async with Keeper(broker, group.settings) as keeper:
        with keeper.keeping(Membership("mail", "w", {PARTITION: tenure})):
            await eventually(lambda: broker.renewals == 2)
            broker.away = False
            before = tenure.term.valid_until
            await eventually(lambda: tenure.term.valid_until > before)
    await group.end(tenure)


async def test_the_keeper_registers_a_worker_with_its_report() -> None:
    class Refusing(Shared):
        async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
            if threading.current_thread() is threading.main_thread():
                raise BrokerUnavailable("no answer to the rounds of the consumer")
            return await super().join(group, worker, ttl, report)

    broker = Refusing()
    async with worker_on(broker, _nothing, lease=4.0):
        await eventually(lambda: broker.joined)
        (report,) = (await broker.members("mail")).reports.values()
    assert loads(report)["protocol"] == PROTOCOL.version
