"""Test time limits: a PostgreSQL that vanishes without a word, and waits that would not end."""

import asyncio
import contextvars
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

import edgy_bus as edgy
from edgy_bus.database import Database, definition_lock
from edgy_bus.database.backends import postgres_pool
from edgy_bus.errors import DatabaseError, DatabaseLocked, DatabaseUnavailable
from tests.proxy import Proxy
from tests.support import Told, eventually

ENOUGH = 30.0
"""Seconds after which a call counts as endless."""

one = sa.select(sa.literal(1).label("one"))


@pytest.fixture(autouse=True)
def short_cleaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_pool, "CLEANING_TIMEOUT", 0.2)
    monkeypatch.setattr("edgy_bus.database.backends.postgres.CLEANING_TIMEOUT", 0.2)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(postgres_url) as proxy:
        yield proxy


async def with_idle(database: Database, number: int) -> None:
    """Leave idle connections behind."""
    together = asyncio.Barrier(number)

    async def use() -> None:
        async with database.transaction():
            await together.wait()

    await asyncio.gather(*(use() for _ in range(number)))


Use = Callable[[Database], Awaitable[object]]


async def iterate(database: Database) -> None:
    async for _ in database.iterate(one):
        pass


USES: dict[str, Use] = {
    "run": lambda database: database.run(one),
    "read": lambda database: database.read(one),
    "fetch_all": lambda database: database.fetch_all(one),
    "fetch_one": lambda database: database.fetch_one(one),
    "fetch_val": lambda database: database.fetch_val(one),
    "execute": lambda database: database.execute("SELECT 1"),
    "execute_many": lambda database: database.execute_many("SELECT 1", [{}]),
    "iterate": iterate,
}


@pytest.fixture(params=USES)
def use(request: pytest.FixtureRequest) -> Use:
    """A method that runs a statement: those of this library, and those of `databases`."""
    return USES[request.param]


async def test_a_silent_server_costs_one_time_limit_for_all_idle_connections(
    proxy: Proxy, use: Use
) -> None:
    async with Database(proxy.url, command_timeout=0.5) as database:
        await with_idle(database, 5)
        proxy.hold()
        # The methods of `databases` raise the errors of the driver.
        with pytest.raises((DatabaseUnavailable, TimeoutError)):
            await use(database)
        proxy.let_flow()
        # Each of the other connections would be silent for ever, if the old host had vanished.
        await proxy.shut()
        proxy.open()
        assert (await database.run(one)).rows == [{"one": 1}]


@pytest.mark.parametrize("silent_at", ["begin", "statement", "savepoint", "commit"])
async def test_a_transaction_with_a_silent_server_ends_with_an_error(
    proxy: Proxy, silent_at: str
) -> None:
    async with (
        asyncio.timeout(ENOUGH),
        Database(proxy.url, command_timeout=0.3, close_timeout=1, timeout=1) as database,
    ):
        await with_idle(database, 1)
        with pytest.raises(DatabaseUnavailable):
            if silent_at == "begin":
                proxy.hold()
            async with database.transaction():
                if silent_at == "statement":
                    proxy.hold()
                await database.run(one)
                if silent_at == "savepoint":
                    proxy.hold()
                async with database.transaction():
                    pass
                proxy.hold()
        proxy.let_flow()
        async with database.transaction():
            assert (await database.run(one)).rows == [{"one": 1}]


async def test_a_cancelled_task_does_not_wait_for_a_silent_server(proxy: Proxy, use: Use) -> None:
    async with Database(proxy.url, close_timeout=1) as database:
        begun = asyncio.Event()

        async def work() -> None:
            async with database.transaction():
                proxy.hold()
                begun.set()
                await use(database)

        working = asyncio.create_task(work())
        await begun.wait()
        async with asyncio.timeout(ENOUGH / 2):  # half of the statement's own limit
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        assert working.cancelled()
        proxy.let_flow()


async def test_disconnecting_from_a_silent_server_ends(proxy: Proxy) -> None:
    database = Database(proxy.url, close_timeout=0.3)
    await database.connect()
    await with_idle(database, 3)
    proxy.hold()
    async with asyncio.timeout(ENOUGH):
        await database.disconnect()
    assert not database.is_connected
    proxy.let_flow()
    async with database:
        assert (await database.run(one)).rows == [{"one": 1}]


async def test_disconnecting_cuts_a_task_that_does_not_end(postgres_url: str) -> None:
    database = Database(postgres_url, close_timeout=0.2)
    await database.connect()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with database.transaction():
            begun.set()
            await go_on.wait()
            await database.run(one)

    working = asyncio.create_task(work())
    await begun.wait()
    await database.disconnect()
    go_on.set()
    with pytest.raises(DatabaseError):
        await working


async def test_connecting_to_a_silent_server_ends(proxy: Proxy) -> None:
    proxy.hold()
    database = Database(proxy.url, timeout=0.3)
    with pytest.raises(DatabaseUnavailable, match="time limit"):
        await database.connect()
    proxy.let_flow()
    async with database:
        assert (await database.run(one)).rows == [{"one": 1}]


async def test_a_relay_goes_on_when_the_address_leads_to_another_host(proxy: Proxy) -> None:
    bus = edgy.Bus("memory://", service="svc", relaying=edgy.RelaySettings(backoff=0.1))
    shop = edgy.Registry(Database(proxy.url, command_timeout=0.5, timeout=0.5), bus=bus)

    class Order(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop

    bus.on_start(shop.create_all)
    async with bus:
        [relay] = bus.relays()
        with Told() as notices:
            proxy.hold()
            await eventually(lambda: notices.of("relay.failed"))
        await proxy.shut()
        proxy.let_flow()
        proxy.open()
        await Order.query.create()
        await eventually(lambda: relay.published == 1)


def is_probed(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Return whether the kernel notices that the host of the connection has vanished."""
    plain = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    chosen = [plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) > 0]
    limits = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
    for name, limit in limits.items():
        if hasattr(socket, name):
            value = plain.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            chosen.append(value == limit)
    return all(chosen)


async def test_the_kernel_probes_connections_of_the_pool(proxy: Proxy) -> None:
    async with Database(proxy.url) as database, database.connection() as connection:
        assert is_probed(connection.session._raw._con)


async def test_the_kernel_probes_connections_that_listen(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[asyncpg.Connection[asyncpg.Record]] = []
    connect = asyncpg.connect

    async def remembered(**arguments: Any) -> Any:
        made.append(await connect(**arguments))
        return made[-1]

    async with Database(proxy.url) as database:
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg, "connect", remembered)
            async with database.listen("somewhere", lambda: None):
                assert [is_probed(connection) for connection in made] == [True]


async def test_waiting_for_a_free_connection_ends_with_the_reason(postgres_url: str) -> None:
    async with (
        Database(postgres_url, max_size=1, acquire_timeout=0.2) as database,
        database.transaction(),
    ):

        async def other() -> None:
            await database.run(one)

        # Started in a context of its own: it is no part of the transaction.
        task = asyncio.get_running_loop().create_task(other(), context=contextvars.Context())
        with pytest.raises(DatabaseUnavailable, match=r"free within 0\.2 s.*at most 1 \(max_size"):
            await task


async def test_a_transaction_can_allow_its_statements_more_time(postgres_url: str) -> None:
    slow = sa.text("SELECT pg_sleep(0.6)")
    async with Database(postgres_url, command_timeout=0.2) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.run(slow)
        async with database.transaction(command_timeout=20):
            await database.run(slow)
            async with database.transaction():
                await database.run(slow)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                await database.run(slow)


async def test_a_savepoint_gives_the_time_limit_back(postgres_url: str) -> None:
    slow = sa.text("SELECT pg_sleep(0.6)")
    async with Database(postgres_url, command_timeout=0.2) as database, database.transaction():
        async with database.transaction(command_timeout=20):
            await database.run(slow)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                await database.run(slow)
        # The savepoint was rolled back, so the transaction goes on.
        assert (await database.run(one)).rows == [{"one": 1}]


async def test_changing_tables_may_take_longer_than_a_statement(postgres_url: str) -> None:
    async with Database(postgres_url, command_timeout=0.2) as database, database.defining() as run:
        await run("SELECT pg_sleep(0.6)")


async def test_a_session_that_keeps_the_lock_for_tables_is_named(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = sa.Table("late", sa.MetaData(), sa.Column("id", sa.Integer))
    async with (
        Database(f"{postgres_url}&application_name=migration") as other,
        Database(postgres_url) as database,
    ):
        # Other programs may use the server: the wait for them has its ordinary limit.
        async with other.defining():
            with monkeypatch.context() as patched:
                patched.setattr(definition_lock, "PATIENCE", 0.2)
                with pytest.raises(
                    DatabaseLocked, match=r"pid \d+ \(role \w+, migration, idle in tr"
                ):
                    await database.create_tables(table)
        await database.create_tables(table)


async def test_a_missing_index_does_not_make_writers_wait_for_a_long_transaction(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definition_lock, "TABLE_TIMEOUT", "50ms")
    monkeypatch.setattr(definition_lock, "PAUSE", 0.05)
    metadata = sa.MetaData()
    table = sa.Table("busy", metadata, sa.Column("id", sa.Integer))
    async with Database(postgres_url) as database, Database(postgres_url) as writer:
        await database.create_tables(table)
        sa.Index("busy_id", table.c.id)
        async with writer.transaction():
            await writer.run(sa.insert(table).values(id=1))
            creating = asyncio.create_task(database.create_tables(table))
            async with Database(postgres_url, command_timeout=5) as other:
                for number in range(5):
                    await other.run(sa.insert(table).values(id=number))
            assert not creating.done()
        await creating
        assert "busy_id" in (await database.existing(table)).indexes
