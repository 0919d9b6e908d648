"""Test idle connections to PostgreSQL, which stay out of asyncpg's pool between operations."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from sqlalchemy import text

from edgy_bus.database import Database
from edgy_bus.database.backends.postgres import PostgresBackend
from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from tests.proxy import Proxy


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with Database(postgres_url, min_size=1, max_size=2) as database:
        yield database


Select = sa.Select[tuple[int]]

CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be cut'"
)
"""Cuts the connections of the database whose `application_name` is "to be cut"."""


def idle_count(database: Database) -> int:
    backend = database._backend
    assert isinstance(backend, PostgresBackend)
    return len(backend._idle)


@pytest.fixture
def table() -> Select:
    return sa.select(sa.literal(1).label("one"))


async def test_the_next_operation_takes_the_same_connection(
    database: Database, table: Select
) -> None:
    await database.run(table)
    assert idle_count(database) == 1
    async with database.transaction():
        assert idle_count(database) == 0
        await database.run(table)
    assert idle_count(database) == 1


async def test_a_connection_that_somebody_may_have_changed_goes_back_to_the_pool(
    database: Database,
) -> None:
    await database.run(text("SET application_name = 'changed'"))
    assert idle_count(database) == 0
    rows = (await database.run(text("SHOW application_name"))).rows
    assert rows[0]["application_name"] != "changed"


async def test_a_connection_whose_statement_was_cancelled_goes_back_to_the_pool(
    database: Database, table: Select
) -> None:
    await database.run(table)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.run(text("SELECT pg_sleep(5)"))
    assert idle_count(database) == 0
    assert (await database.run(table)).rows == [{"one": 1}]


async def test_a_connection_that_the_server_cut_is_not_taken_again(
    postgres_url: str, table: Select
) -> None:
    async with (
        Database(postgres_url) as admin,
        Database(f"{postgres_url}&application_name=to+be+cut") as database,
    ):
        await database.run(table)
        assert idle_count(database) == 1
        await admin.run(CUT)
        await asyncio.sleep(0.1)  # the end of the connection arrives
        for _ in range(3):
            assert (await database.run(table)).rows == [{"one": 1}]


async def test_a_task_whose_transaction_the_server_cut_goes_on_with_another_connection(
    postgres_url: str, table: Select
) -> None:
    async with (
        Database(postgres_url) as admin,
        Database(f"{postgres_url}&application_name=to+be+cut") as database,
    ):
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                await database.run(table)
                await admin.run(CUT)
                await asyncio.sleep(0.1)  # the end of the connection arrives
                await database.run(table)
        async with database.transaction():
            assert (await database.run(table)).rows == [{"one": 1}]


async def test_a_transaction_that_finds_no_server_raises_an_error_of_ours(
    postgres_url: str, table: Select
) -> None:
    async with Proxy(postgres_url) as proxy, Database(proxy.url) as database:
        await database.run(table)
        await proxy.shut()
        await asyncio.sleep(0.1)  # the end of the connection arrives
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                pytest.fail("it began")
        with pytest.raises(DatabaseUnavailable):
            async with database.connection():
                pytest.fail("there is no connection")
        proxy.open()
        async with database.transaction():
            assert (await database.run(table)).rows == [{"one": 1}]


async def test_more_tasks_than_connections_all_get_one(database: Database, table: Select) -> None:
    async def work() -> None:
        for _ in range(20):
            await database.run(table)
            async with database.transaction():
                await database.run(table)
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(*(work() for _ in range(10)))
    assert idle_count(database) <= 2


async def test_a_failed_statement_leaves_a_connection_that_works(
    database: Database, table: Select
) -> None:
    with pytest.raises(DatabaseError):
        await database.run(sa.select(sa.literal(1) / sa.literal(0)))
    assert (await database.run(table)).rows == [{"one": 1}]


async def test_disconnecting_waits_for_what_runs_and_no_longer(
    postgres_url: str, table: Select
) -> None:
    database = Database(postgres_url)
    await database.connect()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with database.transaction():
            await database.run(table)
            begun.set()
            await go_on.wait()

    async with asyncio.timeout(10):
        working = asyncio.create_task(work())
        await begun.wait()
        ending = asyncio.create_task(database.disconnect())
        await asyncio.sleep(0.1)
        assert not ending.done()
        go_on.set()
        await working
        await ending


async def test_disconnecting_does_not_wait_for_what_is_idle(
    postgres_url: str, table: Select
) -> None:
    async with asyncio.timeout(5):
        async with Database(postgres_url) as database:
            await database.run(table)
            assert idle_count(database) == 1
