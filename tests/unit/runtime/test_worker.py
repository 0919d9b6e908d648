"""Share partitions between workers, take over partitions, and survive an unavailable broker."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from edgy_bus.brokers.base import Lease, Members, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import pack
from edgy_bus.database import Database
from edgy_bus.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable
from edgy_bus.events import Partition, partitions_of
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import subscribe

SETTINGS = WorkerSettings(lease=0.6, block=0.05, backoff=0.05, grace=5.0)


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

    async def fetch(self, lease: Lease, count: int, *, inherit: bool) -> Any:
        self._answer()
        return await super().fetch(lease, count, inherit=inherit)


def worker_on(
    broker: MemoryBroker, function: Any, settings: WorkerSettings = SETTINGS, **options: Any
) -> Worker:
    return Worker(broker, [Subscriptions("mail", [subscribe(function, **options)])], settings)


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
    return any(b'"handled":1' in report and b'"protocol":2' in report for report in reports)


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


async def test_a_mistake_before_the_start_ends_the_worker() -> None:
    class Broken(MemoryBroker):
        async def connect(self) -> None:
            raise RuntimeError("a mistake")

    worker = worker_on(Broken(), nothing)
    await worker.start()
    with pytest.raises(RuntimeError, match="a mistake"):
        await worker.wait()


class Broken(MemoryBroker):
    """A mistake in one group alone."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self.group = group
        self.works = asyncio.Event()
        self.works.set()

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        if group == self.group and not self.works.is_set():
            raise RuntimeError("a mistake")
        return await super().join(group, worker, ttl, report)


def of_group(group: str, function: Any) -> Subscriptions:
    return Subscriptions(group, [replace(subscribe(function), group=group)])


async def test_a_consumer_that_fails_ends_its_worker_which_drains_the_other_groups() -> None:
    entered, finished = asyncio.Event(), list[int]()

    async def slow(sender: Any, event: Any, **kwargs: Any) -> None:
        entered.set()
        await asyncio.sleep(0.3)
        finished.append(event.sequence)

    broker = Broken("search")
    await publish(broker, event("1", 1))
    worker = Worker(broker, [of_group("mail", slow), of_group("search", nothing)], SETTINGS)
    with Told() as told:
        await worker.start()
        await entered.wait()
        broker.works.clear()
        with pytest.raises(RuntimeError, match="a mistake"):
            await worker.wait()
    assert finished == [1], "the call of the other group has had its time"
    assert not broker._streams[PARTITION].leases.get("mail"), "and its lease was given back"
    assert [fields["service"] for fields in told.of("service.failed")] == ["Consumer", "Worker"]
    assert told.of("worker.stopped")


async def test_a_mistake_while_leases_are_kept_is_told() -> None:
    class Broken(MemoryBroker):
        async def renew_all(self, leases: Any, ttl: float) -> Any:
            raise RuntimeError("a mistake")

    broker = Broken()
    await declare(broker, 1)
    worker = worker_on(broker, nothing, WorkerSettings(lease=0.2, block=0.05))
    with Told() as told:
        await worker.start()
        await eventually(lambda: told.of("service.failed"), "the consumer fails")
        with pytest.raises(RuntimeError, match="a mistake"):
            await worker.stop()
