"""Share partitions between workers, take over partitions, and survive an unavailable broker."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from edgy_bus import services
from edgy_bus.brokers.base import Lease, Members, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import pack
from edgy_bus.database import Database
from edgy_bus.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
)
from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import SETTINGS, subscribe, worker_on


class Away(MemoryBroker):
    """A broker that can stop answering."""

    away = False

    def _answer(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")

    async def connect(self) -> None:
        self._answer()

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        self._answer()
        return await super().join(group, worker, ttl, report)

    async def renew(self, lease: Lease, ttl: float) -> bool:
        self._answer()
        return await super().renew(lease, ttl)

    async def fetch(self, lease: Lease, count: int, **where: Any) -> Any:
        self._answer()
        return await super().fetch(lease, count, **where)


async def declare(broker: MemoryBroker, partitions: int) -> list[Partition]:
    await broker.declare("accounts.User", partitions)
    return list(partitions_of("accounts.User", partitions))


async def nothing(sender: Any, **kwargs: Any) -> None: ...


def held(worker: Worker) -> int:
    return sum(len(consumer.partitions) for consumer in worker.consumers)


async def test_a_worker_alone_holds_everything() -> None:
    broker = MemoryBroker()
    await declare(broker, 8)
    async with worker_on(broker, nothing) as worker:
        await eventually(lambda: held(worker) == 8)


async def test_workers_share_fairly_when_one_joins_and_when_one_leaves() -> None:
    broker = MemoryBroker()
    await declare(broker, 8)
    async with worker_on(broker, nothing) as first:
        await eventually(lambda: held(first) == 8)
        async with worker_on(broker, nothing) as second:
            await eventually(lambda: (held(first), held(second)) == (4, 4))
        await eventually(lambda: held(first) == 8)


async def test_no_event_is_handled_twice_or_out_of_order_while_workers_come_and_go() -> None:
    broker = MemoryBroker()
    partitions = await declare(broker, 4)
    seen: list[tuple[str, int]] = []

    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0.001)
        seen.append((instance.id, instance.n))

    async def keep_publishing() -> None:
        for number in range(40):
            for partition in partitions:
                await publish_to(broker, partition, number)
            await asyncio.sleep(0.02)

    async def a_guest() -> None:
        async with worker_on(broker, hear) as guest:
            await eventually(lambda: held(guest))

    async with worker_on(broker, hear):
        publishing = asyncio.create_task(keep_publishing())
        for _ in range(3):
            await a_guest()
        await publishing
        await eventually(lambda: len(seen) >= 160)
    for partition in partitions:
        assert [n for row, n in seen if row == str(partition)] == list(range(40))


async def publish_to(broker: MemoryBroker, partition: Partition, number: int) -> None:
    state = await broker.inspect(partition, StreamHead(), "epoch")
    assert (
        await broker.publish(partition, state.head, [pack(event(str(partition), number))])
        is not None
    )


async def test_the_events_of_a_worker_that_died_are_taken_over() -> None:
    broker = MemoryBroker()
    await publish(broker, *(event("1", number) for number in range(3)))
    dead = await broker.acquire(PARTITION, "mail", "dead", SETTINGS.lease)
    assert dead is not None
    await broker.fetch(dead, 2, inherit=False)
    seen: list[int] = []

    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(instance.n)

    async with worker_on(broker, hear):
        await eventually(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


async def test_a_worker_that_stops_lets_its_receivers_finish_and_hands_over_at_once() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("1", 2))
    entered, finished = asyncio.Event(), []

    async def slow(sender: Any, instance: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.sleep(0.1)
        finished.append(instance.n)

    long = SETTINGS.model_copy(update={"lease": 3_600.0})
    async with worker_on(broker, slow, long):
        await entered.wait()
    assert finished == [1]
    async with worker_on(broker, slow, long):
        await eventually(lambda: finished == [1, 2])


async def test_a_broker_that_is_away_at_the_start_is_waited_for_and_told_once() -> None:
    broker = Away()
    broker.away = True
    await declare(broker, 2)
    with Told() as told:
        async with worker_on(broker, nothing) as worker:
            await asyncio.sleep(0.3)
            assert worker.running
            assert len(told.of("broker.unavailable")) == 1
            broker.away = False
            await eventually(lambda: held(worker) == 2)
    assert len(told.of("broker.available")) == 1


async def test_a_broker_that_goes_away_meanwhile_stops_nothing_for_good() -> None:
    broker = Away()
    seen: list[int] = []

    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(instance.n)

    await publish(broker, event("1", 1))
    with Told() as told:
        async with worker_on(broker, hear) as worker:
            await eventually(lambda: seen == [1])
            broker.away = True
            await publish(broker, event("1", 2))
            await eventually(lambda: told.of("broker.unavailable"))
            assert worker.running
            broker.away = False
            await eventually(lambda: seen == [1, 2])
            await eventually(lambda: told.of("broker.available"))


async def test_a_model_that_is_published_later_is_found() -> None:
    broker = MemoryBroker()
    seen: list[int] = []

    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(instance.n)

    async with worker_on(broker, hear):
        await asyncio.sleep(0.05)
        await publish(broker, event("1", 1))
        await eventually(lambda: seen == [1])


async def test_it_says_that_it_is_alive() -> None:
    alive: list[None] = []
    worker = Worker(
        MemoryBroker(),
        [Subscriptions("mail", [subscribe(nothing)])],
        SETTINGS,
        lambda: alive.append(None),
    )
    async with worker:
        await eventually(lambda: len(alive) >= 2)


async def test_its_report_is_with_the_broker() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    async with worker_on(broker, nothing):
        await eventually(lambda: _reported(broker))


async def _reported(broker: MemoryBroker) -> bool:
    reports = (await broker.members("mail")).reports.values()
    return any(b'"handled":1' in report and b'"protocol":3' in report for report in reports)


def test_a_worker_with_nothing_to_do_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no receiver runs in group 'mail'"):
        Worker(MemoryBroker(), [Subscriptions("mail", [])], SETTINGS)


async def test_one_process_may_run_several_groups() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    seen: list[str] = []

    def hear(group: str) -> Subscriptions:
        async def receiver(sender: Any, **kwargs: Any) -> None:
            seen.append(group)

        one = subscribe(receiver)
        return Subscriptions(
            group, [type(one)(group, one.model, one.signal, one.receiver, one.sender, one.read)]
        )

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(Worker(broker, [hear("mail"), hear("search")], SETTINGS))
        await eventually(lambda: sorted(seen) == ["mail", "search"])


@pytest.mark.parametrize("kind", [BrokerUnavailable, DatabaseUnavailable])
async def test_an_outage_of_any_kind_is_told_once_and_waited_for(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drivers have kinds of their own."""

    class Special(kind):  # type: ignore[valid-type, misc]
        pass

    class Away(MemoryBroker):
        outages = 3

        async def connect(self) -> None:
            if kind is BrokerUnavailable:
                self.fail()

        def fail(self) -> None:
            self.outages -= 1
            if self.outages >= 0:
                raise Special("away")

    broker = Away()

    async def prepare(*_: Any) -> None:
        if kind is DatabaseUnavailable:
            broker.fail()

    monkeypatch.setattr("edgy_bus.runtime.worker.prepare", prepare)
    part = "broker" if kind is BrokerUnavailable else "database"
    database = Database("sqlite:///:memory:")
    with Told() as told:
        async with worker_on(broker, nothing, inbox=database) as worker:
            await eventually(lambda: worker.consumers)
    assert [fields["error"] for fields in told.of(f"{part}.unavailable")] == ["away"]
    assert len(told.of(f"{part}.available")) == 1


async def test_a_mistake_of_configuration_ends_the_worker() -> None:
    class Refusing(MemoryBroker):
        async def connect(self) -> None:
            raise ConfigurationError("a mistake")

    worker = worker_on(Refusing(), nothing)
    await worker.start()
    with pytest.raises(ConfigurationError, match="a mistake"):
        await worker.wait()


async def test_no_other_error_at_the_start_ends_the_worker() -> None:
    class Broken(MemoryBroker):
        failures = 2

        async def connect(self) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise BrokerError("WRONGTYPE")

    with Told() as told:
        async with worker_on(Broken(), nothing) as worker:
            assert not worker.ready
            await eventually(lambda: worker.ready)
    assert [notice["error"] for notice in told.of("service.failed")] == [
        "BrokerError: WRONGTYPE",
        "BrokerError: WRONGTYPE",
    ]


class Broken(MemoryBroker):
    """Fail in a step of one group, for as long as `works` is not set."""

    def __init__(self, group: str, step: str) -> None:
        super().__init__()
        self.group = group
        self.step = step
        self.failed = 0
        self.works = asyncio.Event()
        self.works.set()

    def _answer(self, step: str, group: str) -> None:
        if (step, group) == (self.step, self.group) and not self.works.is_set():
            self.failed += 1
            raise RuntimeError("a mistake")

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        self._answer("join", group)
        return await super().join(group, worker, ttl, report)

    async def leave(self, group: str, worker: str) -> None:
        self._answer("leave", group)
        await super().leave(group, worker)

    async def release(self, lease: Lease) -> None:
        self._answer("release", lease.role)
        await super().release(lease)

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        if partition == PARTITION:
            self._answer("acquire", role)
        return await super().acquire(partition, role, owner, ttl)


def of_group(group: str, function: Any) -> Subscriptions:
    return Subscriptions(group, [replace(subscribe(function), group=group)])


def slowly(entered: asyncio.Event, finished: list[int]) -> Any:
    async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.sleep(0.3)
        finished.append(event.sequence)

    return slow


@pytest.mark.parametrize("step", ["join", "leave", "release"])
async def test_a_group_that_fails_ends_no_call_and_keeps_no_lease_of_another(step: str) -> None:
    entered, finished = asyncio.Event(), list[int]()
    broker = Broken("search", step)
    await publish(broker, event("1", 1))
    slow = slowly(entered, finished)
    worker = Worker(broker, [of_group("mail", slow), of_group("search", nothing)], SETTINGS)
    with Told() as told:
        await worker.start()
        await entered.wait()
        await eventually(lambda: held(worker) == 2)
        broker.works.clear()
        if step == "join":
            await eventually(lambda: broker.failed >= 2, "the group fails, and tries again")
        assert worker.running
        await worker.stop()
    assert broker.failed
    assert finished == [1], "the call of the other group has had its time"
    assert not broker._streams[PARTITION].leases.get("mail"), "and its lease was given back"
    names = {"join": "consumer", "leave": "consumer", "release": "partition"}
    assert told.of(f"{names[step]}.failed")
    assert told.of("worker.stopped")


async def test_a_group_that_fails_finishes_its_own_calls_and_goes_on_when_it_can() -> None:
    entered, finished = asyncio.Event(), list[int]()
    broker = Broken("mail", "join")
    await publish(broker, event("1", 1))
    async with worker_on(broker, slowly(entered, finished)) as worker:
        await entered.wait()
        broker.works.clear()
        await eventually(lambda: broker.failed)
        await eventually(lambda: finished == [1])
        await publish(broker, event("1", 2))
        await eventually(lambda: finished == [1, 2], "what the group holds goes on")
        broker.works.set()
        consumer = worker.consumers[0]
        consumer.ready = False
        await eventually(lambda: consumer.ready)


async def test_a_lease_that_cannot_be_taken_keeps_no_other_partition_from_the_group() -> None:
    broker = Broken("mail", "acquire")
    await declare(broker, 4)
    broker.works.clear()
    with Told() as told:
        async with worker_on(broker, nothing) as worker:
            await eventually(lambda: held(worker) == 3)
            await eventually(lambda: broker.failed >= 2)
            broker.works.set()
            await eventually(lambda: held(worker) == 4)
    assert told.of("partition.failed")[0] == {
        "group": "mail",
        "partition": str(PARTITION),
        "error": "RuntimeError: a mistake",
    }


async def test_a_worker_with_a_loop_that_hangs_says_no_more_that_it_is_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hanging(MemoryBroker):
        hangs = False

        async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
            if self.hangs:
                await asyncio.Event().wait()
            return await super().join(group, worker, ttl, report)

    monkeypatch.setattr(services, "PATIENCE", 0.3)
    alive: list[None] = []
    broker = Hanging()
    subscriptions = [Subscriptions("mail", [subscribe(nothing)])]
    worker = Worker(broker, subscriptions, SETTINGS, lambda: alive.append(None))
    await worker.start()
    await eventually(lambda: worker.ready and alive)
    assert worker.alive
    broker.hangs = True
    await eventually(lambda: not worker.alive)
    count = len(alive)
    await asyncio.sleep(2 * SETTINGS.lease)
    assert len(alive) == count
    await worker.consumers[0].abort()
    await worker.stop()


async def test_a_mistake_while_leases_are_kept_is_reported_and_ends_no_worker() -> None:
    class Broken(MemoryBroker):
        works = False

        async def renew_all(self, leases: Any, ttl: float) -> Any:
            if not self.works:
                raise RuntimeError("a mistake")
            return await super().renew_all(leases, ttl)

    broker = Broken()
    await declare(broker, 1)
    with Told() as told:
        async with worker_on(broker, nothing, WorkerSettings(lease=0.2, block=0.05)) as worker:
            await eventually(lambda: told.of("tenure.lost"), "the lease runs out")
            (failure,) = told.of("service.failed")
            assert failure["service"] == "LeaseRenewal"
            assert failure["error"] == "RuntimeError: a mistake"
            broker.works = True
            await eventually(lambda: held(worker) == 1)


async def test_numbers_of_partitions_are_not_read_in_every_round() -> None:
    class Counting(MemoryBroker):
        reads = joins = 0

        async def declared(self) -> Any:
            self.reads += 1
            return await super().declared()

        async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
            self.joins += 1
            return await super().join(group, worker, ttl, report)

    broker = Counting()
    async with worker_on(broker, nothing):
        await eventually(lambda: broker.joins >= 6)
        assert broker.reads <= 2
