"""Workers and partitions: who lives, who owns what since when, and what nobody works on."""

from collections.abc import Sequence
from datetime import UTC, datetime

from edgy_bus.brokers.base import Enlisted, Lease, StreamSurvey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.events import Partition
from edgy_bus.operations import ownership
from tests.support import PARTITION, event, publish

TEAMS = Partition("accounts.Team", "0")
PLACES = Partition("accounts.Place", "0")

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


async def take(
    broker: MemoryBroker, partition: Partition, worker: str, group: str = "mail"
) -> Lease:
    """Publish an event, and read it as a worker does."""
    await publish(broker, event("1", 1), partition=partition)
    tenure = f"{worker}.{int(NOON.timestamp() * 1000)}"
    lease = await broker.acquire(partition, group, tenure, 60)
    assert lease is not None
    await broker.fetch(lease, 10, inherit=False)
    return lease


async def test_workers_are_shown_with_what_they_report() -> None:
    broker = MemoryBroker()
    await take(broker, PARTITION, "one")
    calls = {"app.send": [7, 2, 1, 1795827899.0], "app.log": [3, 1, 0, 0]}
    report = {"protocol": 3, "receivers": ["app.send", "app.log"], "at": 1.5, "calls": calls}
    await broker.join("mail", "one", 60, dumps(report))
    await broker.join("mail", "two", 60, b"\xff of another program")
    await broker.enlist("mail", [Enlisted("app.send", ())], 60, begins=True)
    one, two = (await ownership(broker)).workers
    assert (one.name, one.group, one.alive) == ("one", "mail", True)
    assert one.receivers == ("app.log", "app.send")
    assert (one.handled, one.jobs, one.waiting.count, one.partitions) == (10, 3, 1, 1)
    assert one.since is not None
    assert (one.since.first, one.since.last) == (NOON, NOON)
    assert one.reported == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)
    assert (two.name, two.receivers, two.reported, two.since) == ("two", (), None, None)


async def test_a_worker_whose_report_has_an_absurd_time_is_shown() -> None:
    broker = MemoryBroker()
    await take(broker, PARTITION, "one")
    for at in (1e300, float("-inf")):
        report = {"protocol": 3, "receivers": [], "at": at, "calls": {}}
        await broker.join("mail", "one", 60, dumps(report))
        (worker,) = (await ownership(broker)).workers
        assert worker.reported is None


async def test_partitions_that_nobody_works_on_come_first() -> None:
    now = 1_000_000.0
    broker = MemoryBroker(lambda: now)
    await take(broker, PARTITION, "one")
    now += 10
    await take(broker, TEAMS, "two")
    now += 10
    free = await take(broker, PLACES, "three")
    await broker.release(free)
    await broker.join("mail", "one", 60, b"")
    view = await ownership(broker)
    shown = [(each.model, each.owner, each.alive, each.stands) for each in view.partitions]
    assert shown == [
        ("accounts.Team", "two", False, True),
        ("accounts.Place", "", False, True),
        ("accounts.User", "one", True, False),
    ]
    assert (view.count, view.standing) == (3, 2)
    assert [each.since for each in view.partitions] == [NOON, None, NOON]
    assert [each.seconds for each in view.partitions] == [10.0, 0.0, 20.0]
    assert [(each.name, each.alive) for each in view.workers] == [("two", False), ("one", True)]


async def test_a_worker_that_begins_between_two_looks_is_not_gone() -> None:
    looks = 0

    class Slow(MemoryBroker):
        async def survey(self, partitions: Sequence[Partition]) -> Sequence[StreamSurvey]:
            nonlocal looks
            looks += 1
            if looks == 2:
                await self.join("mail", "one", 60, b"")
                await take(self, TEAMS, "one")
            return await super().survey(partitions)

    broker = Slow()
    await take(broker, PARTITION, "two")
    await broker.declare(TEAMS.model, 1)
    view = await ownership(broker)
    shown = {each.owner: each.alive for each in view.partitions}
    assert shown == {"one": True, "two": False}


async def test_a_partition_without_unfinished_entries_needs_no_owner() -> None:
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    lease = await broker.acquire(PARTITION, "mail", "one.1", 60)
    assert lease is not None
    entries = (await broker.fetch(lease, 10, inherit=False)).entries
    await broker.settle(lease, [entry.id for entry in entries], ())
    await broker.release(lease)
    view = await ownership(broker)
    assert [(each.lag, each.stands) for each in view.partitions] == [(0, False)]
    assert view.standing == 0


async def test_a_group_a_worker_and_a_number_choose() -> None:
    broker = MemoryBroker()
    await take(broker, PARTITION, "one")
    await take(broker, TEAMS, "two")
    await take(broker, TEAMS, "three", group="search")
    of_group = await ownership(broker, group="mail")
    assert {each.group for each in (*of_group.workers, *of_group.partitions)} == {"mail"}
    assert (of_group.count, len(of_group.workers)) == (2, 2)
    of_worker = await ownership(broker, worker="three")
    assert [each.model for each in of_worker.partitions] == ["accounts.Team"]
    assert [each.name for each in of_worker.workers] == ["three"]
    most = await ownership(broker, most=1)
    assert (len(most.partitions), most.count) == (1, 3)
    assert await ownership(broker, group="misspelt") == await ownership(broker, worker="nobody")
