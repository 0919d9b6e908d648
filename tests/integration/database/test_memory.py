"""Test a SQLite database in memory: no cancellation and no error ends the database."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError

pairs = sa.Table(
    "pairs", sa.MetaData(), sa.Column("name", sa.String(20)), sa.Column("half", sa.Integer)
)
LONG = sa.text(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000) "
    "SELECT count(*) FROM c"
)
"""A statement that takes many minutes."""


@pytest.fixture(params=["memory", "file"])
async def database(request: pytest.FixtureRequest, sqlite_url: str) -> AsyncIterator[Database]:
    """What holds for a database in memory holds for a file as well."""
    url = "sqlite:///:memory:" if request.param == "memory" else sqlite_url
    async with Database(url) as database:
        await database.create_tables(pairs)
        yield database


async def write_pair(database: Database, name: str) -> None:
    async with database.transaction():
        for half in (1, 2):
            await database.run(sa.insert(pairs).values(name=name, half=half))


async def names(database: Database) -> list[str]:
    rows = (await database.run(sa.select(pairs.c.name))).rows
    return [row["name"] for row in rows]


@pytest.mark.parametrize("seed", range(4))
async def test_a_cancellation_at_any_moment_leaves_the_rows_and_no_half(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    await write_pair(database, "before")
    for number in range(60):
        task = asyncio.create_task(write_pair(database, f"pair {number}"))
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    found = await names(database)
    assert found.count("before") == 2
    assert {found.count(name) for name in found} == {2}


async def test_a_long_statement_that_is_cancelled_is_interrupted(database: Database) -> None:
    await write_pair(database, "before")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), database.transaction():
                await database.run(sa.insert(pairs).values(name="lost", half=1))
                await database.run(LONG)
        assert await names(database) == ["before", "before"]


async def test_a_transaction_for_reading_refuses_writes_and_the_next_one_does_not(
    database: Database,
) -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError, match="readonly"):
            async with database.transaction(readonly=True):
                await database.run(sa.insert(pairs).values(name="a", half=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), database.transaction(readonly=True):
            await database.run(LONG)
    await write_pair(database, "b")
    assert await names(database) == ["b", "b"]
