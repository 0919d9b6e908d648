"""Groups: which have read streams, and what forgetting a group removes."""

from collections.abc import AsyncIterator

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, DatabaseUnavailable
from edgy_bus.events import PRE, Partition
from edgy_bus.operations import Forgotten, Parts, forget, group_names, held
from edgy_bus.outbox.store import OutboxStore
from tests.support import PARTITION, hold

ELSEWHERE = Partition("accounts.eu.User", "0")
"""A stream of the service `accounts.eu`."""


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[OutboxStore]:
    async with Database(sqlite_url) as database:
        store = OutboxStore(database, "accounts")
        await store.prepare()
        yield store


async def groups_of(broker: MemoryBroker, partition: Partition = PARTITION) -> set[str]:
    return {backlog.group for backlog in await broker.backlog(partition)}


async def read(broker: MemoryBroker, partition: Partition, group: str) -> None:
    """Let a group read a stream."""
    lease = await broker.acquire(partition, group, "worker", 60)
    assert lease is not None
    await broker.fetch(lease, 10, inherit=False)
    await broker.release(lease)


async def test_every_group_that_has_read_a_stream_has_a_name() -> None:
    broker = MemoryBroker()
    await hold(broker, "1", group="mail")
    await hold(broker, "2", group="audit", partition=ELSEWHERE)
    await read(broker, Partition("accounts.User", PRE), "watch")
    assert await group_names(broker) == ("audit", "mail", "watch")
    assert await group_names(MemoryBroker()) == ()


async def test_a_group_is_forgotten_by_the_streams_of_the_service_and_by_its_database(
    store: OutboxStore,
) -> None:
    broker = MemoryBroker()
    for partition in (PARTITION, ELSEWHERE):
        await read(broker, partition, "mail")
        await read(broker, partition, "audit")
        await broker.declare(partition.model, 1)
    await store.add_group("accounts.User", "mail")
    await store.add_group("accounts.Removed", "mail")
    await store.add_group("accounts.User", "audit")
    parts = Parts(broker, "accounts", [store])
    assert await forget(parts, "mail") == Forgotten("mail", ("accounts.Removed", "accounts.User"))
    assert await store.groups() == {"accounts.User": {"audit"}}
    assert await groups_of(broker) == {"audit"}
    assert await groups_of(broker, ELSEWHERE) == {"mail", "audit"}, "the streams of other services"
    assert await forget(parts, "mail") == Forgotten("mail", ())


async def test_a_group_that_no_database_has_noted_yet_is_forgotten_too(store: OutboxStore) -> None:
    broker = MemoryBroker()
    await broker.declare("accounts.User", 1)
    await read(broker, PARTITION, "mail")
    assert (await forget(Parts(broker, "accounts", [store]), "mail")).models == ("accounts.User",)


async def test_held_rows_survive_their_group(store: OutboxStore) -> None:
    broker = MemoryBroker()
    await hold(broker, "1")
    rows = (await held(broker, "mail")).rows
    await forget(Parts(broker, "accounts", [store]), "mail")
    assert (await held(broker, "mail")).rows == rows != ()


async def test_a_group_with_living_workers_is_kept(store: OutboxStore) -> None:
    broker = MemoryBroker()
    await store.add_group("accounts.User", "mail")
    await broker.join("mail", "host-1", 60, b"")
    with pytest.raises(ConfigurationError, match=r"1 workers that are alive \(host-1\)"):
        await forget(Parts(broker, "accounts", [store]), "mail")
    assert await store.groups() == {"accounts.User": {"mail"}}


async def test_a_database_without_an_outbox_is_refused_before_anything_is_forgotten(
    sqlite_url: str,
) -> None:
    broker = MemoryBroker()
    await broker.declare("accounts.User", 1)
    await read(broker, PARTITION, "mail")
    async with Database(sqlite_url) as database:
        with pytest.raises(ConfigurationError, match="Start the service once"):
            await forget(Parts(broker, "accounts", [OutboxStore(database, "accounts")]), "mail")
    assert await groups_of(broker) == {"mail"}


async def test_a_database_that_is_away_is_no_missing_outbox() -> None:
    class Away(OutboxStore):
        async def groups(self) -> dict[str, set[str]]:
            raise DatabaseUnavailable("away")

    store = Away(Database("sqlite:///never.sqlite"), "accounts")
    with pytest.raises(DatabaseUnavailable):
        await forget(Parts(MemoryBroker(), "accounts", [store]), "mail")
