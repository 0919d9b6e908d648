"""The inbox on SQLite and PostgreSQL: positions by the clock of the database, and their pruning."""

import asyncio
import datetime as dt

import pytest
from sqlalchemy import select, update

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.database import Database
from edgy_bus.runtime import inbox, pruning
from edgy_bus.runtime.inbox import Position, Positions, advance
from edgy_bus.runtime.pruning import InboxPruner
from tests.support import PARTITION
from tests.unit.runtime.support import envelope

SUBJECTS = ["A", "a", "B", "b", "ä", "Z", "z", "é", "1", "10", "2", "-", " ", "event:x", "日本"]


@pytest.fixture
async def inboxes(database: Database) -> Database:
    await database.create_tables(inbox.metadata)
    return database


async def handle(database: Database, *subjects: str, receiver: str = "mail/r") -> None:
    for subject in subjects:
        async with database.transaction():
            assert await advance(database, receiver, envelope(subject=subject))


async def positions(database: Database) -> list[Position]:
    found: list[Position] = []
    while True:
        _, page = await Positions(database).page(found[-1] if found else None, 4)
        found += page
        if len(page) < 4:
            return found


async def test_pages_contain_every_position_once_in_the_order_of_any_collation(
    inboxes: Database,
) -> None:
    for receiver in ("mail/r", "Mail/r", "mail/é"):
        await handle(inboxes, *SUBJECTS, receiver=receiver)
    found = await positions(inboxes)
    assert len(found) == len(set(found)) == 3 * len(SUBJECTS)


async def test_positions_keep_the_time_of_the_database(
    inboxes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = dt.datetime.now(dt.UTC).timestamp() * 1000
    monkeypatch.setattr("time.time", lambda: 10.0)
    monkeypatch.setattr("time.time_ns", lambda: 10 * 10**9)
    await handle(inboxes, "1")
    [first] = await positions(inboxes)
    assert abs(first.handled - real) < 3_600_000
    await inboxes.run(update(inbox.inbox).values(handled=5))
    async with inboxes.transaction():
        assert await advance(inboxes, "mail/r", envelope(subject="1", sequence=2))
    [later] = await positions(inboxes)
    assert later.handled >= first.handled


async def test_only_old_positions_are_forgotten(
    inboxes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_AT_ONCE", 4)
    monkeypatch.setattr(pruning, "_BETWEEN", 0)
    broker = MemoryBroker()
    await broker.declare(PARTITION.model, 1)
    await handle(inboxes, *SUBJECTS)
    young = {"a", "ä", "日本"}
    old = update(inbox.inbox).where(inbox.inbox.c.subject.not_in(young))
    await inboxes.run(old.values(handled=inbox.inbox.c.handled - 100_000))
    assert await InboxPruner(broker, "mail", Positions(inboxes), 50).prune() == len(SUBJECTS) - len(
        young
    )
    rows = (await inboxes.run(select(inbox.inbox.c.subject))).rows
    assert {row["subject"] for row in rows} == young


async def test_a_position_that_a_receiver_moves_is_not_waited_for(
    inboxes: Database, database_url: str
) -> None:
    """A batch may wait for a lock that the pruner has, while the pruner waits for the batch."""
    if inboxes.dialect.name == "sqlite":
        pytest.skip("a transaction of SQLite locks the whole file")
    await handle(inboxes, "1", "2")
    found = await positions(inboxes)
    other = Database(database_url)
    await other.connect()
    async with inboxes.transaction():
        assert await advance(inboxes, "mail/r", envelope(subject="1", sequence=2))
        assert await asyncio.wait_for(Positions(other).forget(found), 10) == 1
    await other.disconnect()
    assert [one.subject for one in await positions(inboxes)] == ["1"]
