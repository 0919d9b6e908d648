"""The status: how far groups are, who works, and what waits."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.events import PRE, Partition
from edgy_bus.operations import Flow, Parts, Since, status, streams
from edgy_bus.outbox.store import OutboxStore
from tests.support import PARTITION, bury, event, hold, publish

TEAMS = Partition("accounts.Team", "0")


class Clock:
    """A clock that stands still until the test moves it."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(clock: Clock) -> MemoryBroker:
    return MemoryBroker(clock)


async def test_nothing_is_well(broker: MemoryBroker) -> None:
    view = await status(Parts(broker, "accounts"))
    assert (view.groups, view.streams, view.well) == ((), 0, True)


async def test_lag_is_counted_in_events_and_seconds_over_all_streams(
    broker: MemoryBroker, clock: Clock
) -> None:
    await publish(broker, event("1", 1), event("1", 2), event("1", 3))
    lease = await broker.acquire(PARTITION, "mail", "worker1.7", 60)
    assert lease is not None
    entries = (await broker.fetch(lease, 2, inherit=False)).entries
    clock.now += 5
    await publish(broker, event("1", 1), partition=TEAMS)
    other = await broker.acquire(TEAMS, "mail", "worker2.1", 60)
    assert other is not None
    await broker.fetch(other, 1, inherit=False)
    await broker.join("mail", "worker1", 60, b"")
    clock.now += 2
    view = await status(Parts(broker, "accounts"))
    (group,) = view.groups
    assert (view.models, view.entries, group.streams) == (2, 4, 2)
    assert (group.lag, group.counted, group.unfinished, group.seconds) == (4, True, 3, 7.0)
    assert (group.workers, group.owners) == (("worker1",), {"worker1": 1, "worker2": 1})
    assert (group.unowned, group.deserted, view.well) == (0, False, True)
    await broker.settle(lease, [entry.id for entry in entries])
    (group,) = (await status(Parts(broker, "accounts"))).groups
    assert (group.lag, group.seconds) == (2, 7.0), "the unread event is as old"
    clock.now += 100
    (group,) = (await status(Parts(broker, "accounts"))).groups
    assert (group.unowned, group.deserted) == (2, True), "leases and workers are gone"


async def test_owners_say_since_when_and_receivers_what_nobody_publishes(
    broker: MemoryBroker,
) -> None:
    for partition, owner in ((PARTITION, "w.1795827799077"), (TEAMS, "w.1795827800000")):
        await publish(broker, event("1", 1), partition=partition)
        lease = await broker.acquire(partition, "mail", owner, 60)
        assert lease is not None
        await broker.fetch(lease, 1, inherit=False)
    signals = ("accounts.User.post_save", "accounts.Usr.post_save")
    await broker.enlist("mail", [Enlisted("send", signals)], 60, begins=True)
    (group,) = (await status(Parts(broker, "accounts"))).groups
    first, last = (
        datetime.fromtimestamp(1795827799.077, UTC),
        datetime.fromtimestamp(1795827800, UTC),
    )
    assert group.since == {"w": Since(first, last)}
    assert group.unpublished == ("accounts.Usr.post_save",)
    assert group.flow == Flow(streams=2, arrived=2, finished=0)
    team, user = await streams(broker)
    assert (team.groups[0].since, user.groups[0].since) == (last, first)


async def test_what_waits_for_an_operator_is_not_well(broker: MemoryBroker) -> None:
    await bury(broker, event("1", 1), event("2", 2))
    await hold(broker, "3", group="audit")
    view = await status(Parts(broker, "accounts"))
    audit, mail = view.groups
    assert (mail.dead, mail.held, mail.well) == (2, 0, False)
    assert (audit.dead, audit.held, audit.well) == (0, 1, False)
    assert not view.well


async def test_streams_are_shown_with_their_groups(broker: MemoryBroker) -> None:
    await publish(broker, event("1", 1), partition=TEAMS)
    await bury(broker, event("1", 1))
    await bury(broker, event("1", None, "pre_save"), partition=Partition("accounts.User", PRE))
    everything = await streams(broker)
    assert [(view.model, view.partition) for view in everything] == [
        ("accounts.Team", "0"),
        ("accounts.User", "0"),
        ("accounts.User", "pre"),
    ]
    (user, _) = await streams(broker, model="accounts.User", group="mail")
    (group,) = user.groups
    assert (group.name, group.lag, group.dead, group.owner) == ("mail", 0, 1, "")
    assert await streams(broker, group="nobody") == []


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[OutboxStore]:
    async with Database(sqlite_url) as database:
        yield OutboxStore(database, "accounts")


async def test_an_outbox_is_shown_with_what_waits(broker: MemoryBroker, store: OutboxStore) -> None:
    (outbox,) = (await status(Parts(broker, "accounts", [store]))).outboxes
    assert outbox.pending is None
    assert "the outbox cannot be read" in outbox.error
    await store.prepare()
    (outbox,) = (await status(Parts(broker, "accounts", [store]))).outboxes
    assert (outbox.pending, outbox.seconds, outbox.error) == (0, None, "")
    row = {"model": "accounts.User", "label": "0", "event_id": "e", "signal": "post_save"}
    async with store.database.transaction():
        await store.append([{**row, "subject": "1", "time": "", "data": "{}"}])
    (outbox,) = (await status(Parts(broker, "accounts", [store]))).outboxes
    assert outbox.pending == 1
    assert outbox.seconds is not None
    assert 0 <= outbox.seconds < 60
    assert outbox.database.startswith("sqlite://")
