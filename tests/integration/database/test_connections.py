"""Test idle connections to PostgreSQL, which stay out of asyncpg's pool between operations."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import text

import edgy_bus as edgy
from edgy_bus.database import Database
from edgy_bus.database.backends.postgres import PostgresBackend
from edgy_bus.database.backends.postgres_pool import Pool as PostgresPool
from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from tests.proxy import Proxy
from tests.support import eventually


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with Database(postgres_url, min_size=1, max_size=2) as database:
        yield database


Select = sa.Select[tuple[int]]

OWN_PID = sa.select(sa.func.pg_backend_pid().label("pid"))

CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be cut'"
)
"""Cuts the connections of the database whose `application_name` is "to be cut"."""


def pool_of(database: Database) -> PostgresPool:
    backend = database._backend
    assert isinstance(backend, PostgresBackend)
    return backend._pool


def idle_count(database: Database) -> int:
    return len(pool_of(database)._idle)


def expire(pool: PostgresPool) -> Callable[[], None]:
    """Return a function that closes idle connections as if they were old."""

    def end() -> None:
        pool._idle = deque((connection, -1e9) for connection, _ in pool._idle)
        pool._expire()

    return end


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


async def test_idle_connections_are_ended_beside_some_that_the_server_has_cut(
    postgres_url: str, table: Select
) -> None:
    url = f"{postgres_url}&application_name=to+be+cut&max_inactive_connection_lifetime=600"
    async with Database(postgres_url) as admin, Database(url) as database:
        pool = pool_of(database)
        for end in (pool._end_idle, expire(pool)):
            await asyncio.gather(*(hold_connection(database, table) for _ in range(3)))
            plain = [connection._con for connection, _ in pool._idle]
            assert len(plain) == 3
            await admin.run(sa.select(sa.func.pg_terminate_backend(plain[1].get_server_pid())))
            await eventually(plain[1].is_closed, "the end of the connection")
            end()
            assert not pool._idle
            assert all(connection.is_closed() for connection in plain)
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


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_cancelled_disconnect_leaves_no_session(
    postgres_url: str, table: Select, turns: int
) -> None:
    database = Database(f"{postgres_url}&application_name=to+be+counted")
    await database.connect()
    await asyncio.gather(*(hold_connection(database, table) for _ in range(3)))
    disconnecting = asyncio.create_task(database.disconnect())
    for _ in range(turns):
        await asyncio.sleep(0)
    disconnecting.cancel()
    await asyncio.gather(disconnecting, return_exceptions=True)
    assert not database.is_connected
    async with Database(postgres_url) as admin:

        async def none_is_open() -> bool:
            return not await open_connections(admin)

        await eventually(none_is_open, "the end of the sessions at the server")


async def test_unused_connections_are_closed(postgres_url: str, table: Select) -> None:
    async with (
        Database(
            f"{postgres_url}&application_name=to+be+counted&max_inactive_connection_lifetime=0.2"
        ) as database,
        Database(postgres_url) as admin,
    ):
        await asyncio.gather(*(hold_connection(database, table) for _ in range(5)))
        await eventually(lambda: idle_count(database) == 0, "the end of idle connections")

        async def none_is_open() -> bool:
            return not await open_connections(admin)

        await eventually(none_is_open, "the end of the sessions at the server")
        assert (await database.run(table)).rows == [{"one": 1}]


async def test_a_connection_in_use_is_not_closed_for_its_age(
    postgres_url: str, table: Select
) -> None:
    url = f"{postgres_url}&max_inactive_connection_lifetime=0.1"
    async with Database(url) as database, database.transaction():
        pid = await backend_pid(database)
        await asyncio.sleep(0.4)
        assert await backend_pid(database) == pid


async def test_a_worn_connection_is_replaced(postgres_url: str) -> None:
    async with Database(f"{postgres_url}&max_queries=10") as database:
        pids = {await backend_pid(database) for _ in range(60)}
    assert 3 <= len(pids) <= 12


async def hold_connection(database: Database, table: Select) -> None:
    async with database.transaction():
        await database.run(table)
        await asyncio.sleep(0.05)


async def open_connections(database: Database) -> int:
    query = text(
        "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'to be counted'"
    )
    number: int = (await database.run(query)).rows[0]["n"]
    return number


async def backend_pid(database: Database) -> int:
    pid: int = (await database.run(OWN_PID)).rows[0]["pid"]
    return pid


async def test_with_pgbouncer_nothing_needs_the_session_of_an_earlier_statement(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reset every connection after each use, as another connection of the server would be."""
    released = PostgresPool.give_back

    async def forgetting(self: PostgresPool, connection: Any, **options: Any) -> None:
        plain = connection._con
        if plain is not None and not plain.is_closed() and not plain.is_in_transaction():
            await plain.execute("DISCARD ALL")
        await released(self, connection, **options)

    monkeypatch.setattr(PostgresPool, "give_back", forgetting)
    url, _, schema = postgres_url.partition("schema=")
    settings = {"search_path": schema}  # as ALTER ROLE … SET search_path would
    bus = edgy.Bus("memory://", service="accounts")
    database = Database(f"{url}pgbouncer=true", server_settings=settings)
    users = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)

        class Meta:
            registry = users

    bus.on_start(users.create_all)
    heard: list[int] = []

    @edgy.post_save(User, inbox=database)
    async def hear(sender: type[User], instance: User, **_: Any) -> None:
        heard.append(instance.id)

    assert not database.can_notify
    async with bus, bus.worker():
        user = await User.query.create(name="Ada")
        await user.update(name="Bob")
        assert (await database.run(text("SELECT 1 AS one"))).rows == [{"one": 1}]
        await eventually(lambda: heard == [user.id])


async def test_nothing_of_the_library_resets_a_connection(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resets: list[Any] = []
    reset = asyncpg.Connection.reset

    async def counted(self: Any, **options: Any) -> None:
        resets.append(self)
        await reset(self, **options)

    bus = edgy.Bus("memory://", service="accounts")
    database = Database(postgres_url)
    users = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)
        code: str | None = edgy.CharField(max_length=20, null=True, unique=True)
        made: dt.datetime = edgy.DateTimeField(auto_now_add=True)
        changed: dt.datetime = edgy.DateTimeField(auto_now=True)
        price: Decimal = edgy.DecimalField(max_digits=8, decimal_places=2, default=0)
        data: dict[str, Any] = edgy.JSONField(default=dict)

        class Meta:
            registry = users

    bus.on_start(users.create_all)
    heard: list[str] = []

    @edgy.post_save(User, inbox=database)
    async def saved(sender: type[User], instance: User, **_: Any) -> None:
        heard.append(instance.name)

    async with bus, bus.worker():
        monkeypatch.setattr(asyncpg.Connection, "reset", counted)
        user = await User.query.create(name="Ada")
        await user.update(name="Bob", data={"a": [1]})
        await User.query.bulk_create([{"name": "Cleo"}, {"name": "Dora"}])
        await User.query.filter(name__in=["Cleo", "Dora"]).update(name="Eve")
        await User.query.filter(name__icontains="E").delete()
        assert await User.query.filter(made__lte=dt.datetime.now(dt.UTC)).count() == 1
        await user.delete()
        await eventually(lambda: len(heard) == 3)
    assert resets == []
