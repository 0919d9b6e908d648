"""Test a database in one event loop after another, and in a forked process."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

import edgy_bus as edgy
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from tests.support import eventually

left_connected = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""For tests that close an event loop and leave connections open, of which Python warns."""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Let Python warn during the test that left something open, and not during a later one."""
    yield
    gc.collect()


words = sa.Table("words", sa.MetaData(), sa.Column("word", sa.String(20)))


async def write(database: Database, word: str) -> None:
    async with database.transaction():
        await database.run(sa.insert(words).values(word=word))


async def count(database: Database) -> int:
    rows = (await database.run(sa.select(sa.func.count().label("n")).select_from(words))).rows
    number: int = rows[0]["n"]
    return number


async def crowd(database: Database, word: str) -> None:
    """Let more tasks write than there are connections: they wait for locks and queues."""
    await asyncio.gather(*(write(database, word) for _ in range(15)))


def test_a_database_works_in_one_loop_after_another(database_url: str) -> None:
    database = Database(database_url)

    async def main() -> int:
        async with database:
            await database.create_tables(words)
            await crowd(database, "a")
            return await count(database)

    assert [asyncio.run(main()) for _ in range(3)] == [15, 30, 45]


@left_connected
@pytest.mark.parametrize("connects_again", [True, False])
def test_a_database_that_was_left_connected_works_in_the_next_loop(
    database_url: str, connects_again: bool
) -> None:
    database = Database(database_url)

    async def first() -> None:
        await database.connect()
        await database.create_tables(words)
        await crowd(database, "a")

    async def second() -> int:
        if connects_again:
            await database.connect()
        await crowd(database, "b")
        return await count(database)

    asyncio.run(first())
    assert asyncio.run(second()) == 30

    async def last() -> None:
        await database.disconnect()

    asyncio.run(last())
    assert not database.is_connected


def test_a_connection_that_failed_leaves_the_database_for_the_next_loop(postgres_url: str) -> None:
    refused = True

    async def init(_: object) -> None:
        if refused:
            raise ConnectionRefusedError("no server")

    database = Database(postgres_url, init=init)

    async def main() -> int:
        async with database:
            await database.create_tables(words)
            return await count(database)

    with pytest.raises(DatabaseUnavailable):
        asyncio.run(main())
    refused = False
    assert [asyncio.run(main()) for _ in range(2)] == [0, 0]


LOSING_A_TASK = """
import asyncio, gc, sys
import sqlalchemy as sa
from edgy_bus.database import Database

database = Database(sys.argv[1])
words = sa.Table("words", sa.MetaData(), sa.Column("word", sa.String(20)))
lost = []

async def first():
    await database.connect()
    await database.create_tables(words)
    begun = asyncio.Event()

    async def works():
        async with database.transaction():
            await database.run(sa.insert(words).values(word="half"))
            begun.set()
            await asyncio.sleep(3600)

    lost.append(asyncio.create_task(works()))
    await begun.wait()

async def write():
    async with database.transaction():
        await database.run(sa.insert(words).values(word="whole"))

async def second():
    await write()
    async with database.transaction():
        # The collector ends the lost task, while this task uses a connection.
        lost.clear()
        gc.collect()
        await database.run(sa.insert(words).values(word="whole"))
    await asyncio.gather(*(write() for _ in range(5)))
    print(len((await database.run(sa.select(words))).rows))
    await database.disconnect()

loop = asyncio.new_event_loop()
loop.run_until_complete(first())
loop.close()
del loop
asyncio.run(asyncio.wait_for(second(), 20))
"""


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_task_that_was_lost_with_its_loop_leaves_no_transaction_behind(
    database_url: str, in_memory: bool
) -> None:
    done = run_program(LOSING_A_TASK, "sqlite:///:memory:" if in_memory else database_url)
    assert done.stdout == "7\n", done.stderr


def run_program(program: str, database_url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, database_url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_database_of_a_running_loop_is_refused_in_another(
    database_url: str, other_loop: asyncio.AbstractEventLoop
) -> None:
    database = Database(database_url)

    async def uses() -> None:
        await database.run(sa.select(sa.literal(1).label("n")))

    asyncio.run_coroutine_threadsafe(database.connect(), other_loop).result(20)
    for use in (uses, database.connect):
        with pytest.raises(DatabaseError, match="in use in another event loop"):
            asyncio.run(use())
    asyncio.run_coroutine_threadsafe(uses(), other_loop).result(20)
    asyncio.run_coroutine_threadsafe(database.disconnect(), other_loop).result(20)

    async def another() -> None:
        async with database:
            await uses()

    asyncio.run(another())


@left_connected
def test_a_loop_that_pauses_keeps_its_transactions_and_gives_idle_connections_away(
    database_url: str,
) -> None:
    database = Database(database_url)
    pausing = asyncio.new_event_loop()
    pausing.run_until_complete(database.connect())
    pausing.run_until_complete(database.create_tables(words))
    transaction = database.transaction()

    async def begins() -> None:
        await transaction.start()

    task = pausing.create_task(begins())
    pausing.run_until_complete(task)
    with pytest.raises(DatabaseError, match="unfinished tasks"):
        asyncio.run(write(database, "a"))

    async def ends() -> None:
        await transaction.rollback()

    pausing.run_until_complete(ends())
    asyncio.run(write(database, "a"))
    assert pausing.run_until_complete(count(database)) == 1
    pausing.run_until_complete(database.disconnect())
    pausing.close()


@left_connected
def test_a_database_in_memory_keeps_its_rows_in_the_next_loop() -> None:
    database = Database("sqlite:///:memory:")

    async def first() -> None:
        await database.connect()
        await database.create_tables(words)
        await write(database, "a")

    async def second() -> int:
        await crowd(database, "b")
        number = await count(database)
        await database.disconnect()
        return number

    asyncio.run(first())
    assert asyncio.run(second()) == 16


@left_connected
@pytest.mark.parametrize("broker", [None, "memory://"])
def test_a_bus_disconnects_what_it_connected_in_a_loop_that_was_closed(
    database_url: str, broker: str | None
) -> None:
    database, other = Database(database_url), Database(database_url)
    bus = edgy.Bus(broker, service="svc")
    for each in (database, other):
        edgy.Registry(each, bus=bus)

    async def main() -> None:
        async with bus:
            assert database.is_connected

    async def first() -> None:
        await other.connect()
        await bus.start()

    async def last() -> None:
        await other.disconnect()

    asyncio.run(first())
    asyncio.run(main())
    assert not database.is_connected
    assert other.is_connected, "the application connected this database"
    asyncio.run(last())


FORKING = """
import asyncio, gc, os, sys
import sqlalchemy as sa
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError

database = Database(sys.argv[1])
one = sa.select(sa.literal(1).label("n"))

async def set_up():
    await database.connect()
    await asyncio.gather(*(database.run(one) for _ in range(3)))

async def child():
    gc.collect()
    try:
        await database.run(one)
        print("no error")
    except DatabaseError as error:
        print("forked" if "forked" in str(error) else error)
    await database.connect()
    async with database.transaction():
        print(await database.run(one) and "works")
    await database.disconnect()
    gc.collect()

async def parent():
    for _ in range(3):
        await asyncio.gather(*(database.run(one) for _ in range(3)))
    await database.disconnect()
    print("parent works")

loop = asyncio.new_event_loop()
loop.run_until_complete(set_up())
sys.stdout.flush()
process = os.fork()
if process == 0:
    asyncio.run(asyncio.wait_for(child(), 20))
    sys.stdout.flush()
    sys.exit(0)  # not os._exit: the collector ends what the child has inherited
assert os.waitpid(process, 0)[1] == 0
loop.run_until_complete(asyncio.wait_for(parent(), 20))
loop.close()
"""


def test_a_forked_process_connects_again_and_its_parent_goes_on(database_url: str) -> None:
    done = run_program(FORKING, database_url)
    assert done.stdout.split() == ["forked", "works", "parent", "works"], done.stderr


CRASHING = """
import asyncio, os, sys
from edgy_bus.database import Database

database = Database(sys.argv[1])

async def begin():
    await database.connect()
    await database.transaction().start()

loop = asyncio.new_event_loop()
loop.run_until_complete(begin())
if os.fork():
    print("forked", flush=True)
    os._exit(1)  # a crash, with an open transaction
sys.stdin.read()
os._exit(0)
"""


async def test_a_child_does_not_keep_the_session_of_a_crashed_parent(postgres_url: str) -> None:
    database_url = f"{postgres_url}&application_name=crashing+parent"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CRASHING,
        database_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    async with Database(postgres_url) as database:
        assert await child.stdout.readline() == b"forked\n"
        query = sa.text(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'crashing parent'"
        )

        async def is_gone() -> bool:
            return (await database.run(query)).rows == [{"n": 0}]

        await eventually(is_gone, "the end of the session")
    await child.communicate(b"")  # ends the child


BUS_IN_A_CHILD = """
import asyncio, os, sys
import edgy_bus as edgy

bus = edgy.Bus("memory://", service="svc")
users = edgy.Registry(sys.argv[1], bus=bus)
bus.on_start(users.create_all)
heard = []

class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    class Meta:
        registry = users

@edgy.post_save(User)
async def hear(sender, instance, **kwargs):
    heard.append(instance.id)

async def child():
    async with bus, bus.worker():
        await User.query.create()
        while not heard:
            await asyncio.sleep(0.01)
    print("heard", flush=True)

loop = asyncio.new_event_loop()
loop.run_until_complete(bus.start())
process = os.fork()
if process == 0:
    asyncio.run(asyncio.wait_for(child(), 20))
    os._exit(0)
assert os.waitpid(process, 0)[1] == 0
loop.run_until_complete(bus.stop())
loop.close()
print("stopped")
"""


def test_a_bus_that_was_started_before_a_fork_starts_again_in_the_child(database_url: str) -> None:
    done = run_program(BUS_IN_A_CHILD, database_url)
    assert done.stdout.split() == ["heard", "stopped"], done.stderr
