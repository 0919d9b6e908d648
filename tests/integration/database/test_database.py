"""Test statements and their results, tables, and notifications, on real databases."""

import asyncio
import datetime as dt
import secrets
import sqlite3
import threading
import uuid
from decimal import Decimal

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from edgy_bus.database import Database, ExactDecimal, UTCDateTime, big_key, json_type
from edgy_bus.errors import DatabaseError, DatabaseUnavailable, IntegrityError
from tests.support import eventually

PATIENCE = 20.0
"""Seconds after which an expected event counts as missing."""

LONG = sa.text(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000) "
    "SELECT count(*) FROM c"
)
"""A statement that takes SQLite many minutes."""

metadata = sa.MetaData()
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", big_key(), primary_key=True),
    sa.Column("name", sa.String(20), unique=True, index=True),
    sa.Column("age", sa.Integer),
)
pets = sa.Table(
    "pets",
    metadata,
    sa.Column("id", big_key(), primary_key=True),
    sa.Column("owner", sa.ForeignKey("people.id")),
)
things = sa.Table(
    "things",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("big", sa.BigInteger),
    sa.Column("price", ExactDecimal(12, 2)),
    sa.Column("weight", sa.Double),
    sa.Column("day", sa.Date),
    sa.Column("made", UTCDateTime()),
    sa.Column("flag", sa.Boolean),
    sa.Column("data", json_type()),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("note", sa.Text),
)


@pytest.fixture
async def db(database):
    await database.create_tables(metadata)
    await database.run_many(
        sa.insert(people), [{"name": "Ada", "age": 36}, {"name": "Bob", "age": 17}]
    )
    return database


async def names(database):
    result = await database.run(sa.select(people.c.name).order_by(people.c.id))
    return [row["name"] for row in result.rows]


# Running statements


async def test_a_query_answers_its_rows_by_name(db):
    result = await db.run(sa.select(people).order_by(people.c.id))
    assert result.rows == [{"id": 1, "name": "Ada", "age": 36}, {"id": 2, "name": "Bob", "age": 17}]
    assert result.rowcount == 2


async def test_a_query_without_rows_answers_none(db):
    result = await db.run(sa.select(people).where(people.c.name == "Eva"))
    assert (result.rows, result.rowcount) == ([], 0)


async def test_what_changes_rows_answers_how_many(db):
    assert (await db.run(sa.insert(people).values(id=3, name="Eva"))).rowcount == 1
    assert (await db.run(sa.update(people).values(age=1))).rowcount == 3
    update = sa.update(people).where(people.c.age > 1).values(age=2)
    assert (await db.run(update)).rowcount == 0
    delete = sa.delete(people).where(people.c.name != "Ada")
    assert (await db.run(delete)).rowcount == 2


async def test_what_changes_rows_can_return_them(db):
    result = await db.run(
        sa.update(people).where(people.c.name == "Ada").values(age=37).returning(*people.c)
    )
    assert (result.rows, result.rowcount) == ([{"id": 1, "name": "Ada", "age": 37}], 1)


async def test_text_answers_rows_or_a_count(db):
    result = await db.run(sa.text("SELECT name AS who FROM people WHERE age > :age"), {"age": 18})
    assert (result.rows, result.rowcount) == ([{"who": "Ada"}], 1)
    result = await db.run(sa.text("SELECT name FROM people WHERE age > 99"))
    assert (result.rows, result.rowcount) == ([], 0)
    result = await db.run(sa.text("UPDATE people SET age = 1"))
    assert (result.rows, result.rowcount) == ([], 2)


async def test_a_table_can_be_created_by_a_statement(database):
    await database.run(CreateTable(people))
    assert (await database.run(sa.select(people))).rows == []


async def test_parameters_are_values_of_named_binds_or_columns(db):
    await db.run(sa.insert(people), {"name": "Eva", "age": None})
    query = sa.select(people.c.name).where(people.c.name == sa.bindparam("person"))
    assert (await db.run(query, {"person": "Eva"})).rows == [{"name": "Eva"}]
    assert (await db.run(query, {"person": "Tom"})).rows == []


async def test_lists_of_any_length_and_percent_signs(db):
    await db.run(sa.insert(people).values(name="100%"))

    async def matching(condition):
        query = sa.select(people.c.id).where(condition).order_by(people.c.id)
        return [row["id"] for row in (await db.run(query)).rows]

    assert await matching(people.c.id.in_([])) == []
    assert await matching(people.c.id.in_([2])) == [2]
    assert await matching(people.c.id.in_([1, 2, 9])) == [1, 2]
    assert await matching(people.c.name.in_(["100%"])) == [3]
    assert await matching(people.c.name.contains("%", autoescape=True)) == [3]
    assert await matching(people.c.id % 2 == 1) == [1, 3]
    assert (await db.run(sa.text("SELECT name FROM people WHERE name LIKE '1%'"))).rows == [
        {"name": "100%"}
    ]


async def test_every_type_comes_back_as_it_was(db):
    row = {
        "id": uuid.uuid4(),
        "big": 2**62,
        "price": Decimal("123456789.10"),
        "weight": 0.1,
        "day": dt.date(2026, 2, 28),
        "made": dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
        "flag": True,
        "data": {"a": [1, 2.5, None, True, "ü"], "b": {}},
        "raw": b"\x00\xff",
        "note": "it's 100% \\ ünïcödé",
    }
    await db.run(sa.insert(things), row)
    (stored,) = (await db.run(sa.select(things))).rows
    assert stored == row
    for name, value in row.items():
        assert isinstance(stored[name], type(value))
    assert (str(stored["price"]), stored["made"].tzinfo) == ("123456789.10", dt.UTC)


async def test_nothing_comes_back_as_none(db):
    key = uuid.uuid4()
    nothing = {column.name: None for column in things.c}
    await db.run(sa.insert(things), nothing | {"id": key})
    (stored,) = (await db.run(sa.select(things))).rows
    assert stored == nothing | {"id": key}
    without_data = sa.select(things.c.id).where(things.c.data.is_(None))
    assert (await db.run(without_data)).rowcount == 1, "not the JSON null"


async def test_times_and_decimals_are_compared_by_value(db):
    noon = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
    west = dt.timezone(dt.timedelta(hours=-8))
    later = (noon + dt.timedelta(minutes=30)).astimezone(west)
    first, second = uuid.uuid4(), uuid.uuid4()
    await db.run_many(
        sa.insert(things),
        [
            {"id": first, "made": noon, "price": Decimal("9.5")},
            {"id": second, "made": later, "price": Decimal("10")},
        ],
    )

    async def matching(condition):
        result = await db.run(sa.select(things.c.id).where(condition))
        return [row["id"] for row in result.rows]

    assert await matching(things.c.made > noon) == [second]
    east = dt.timezone(dt.timedelta(hours=3))
    assert await matching(things.c.made == noon.astimezone(east)) == [first]
    naive = noon.replace(tzinfo=None)
    assert await matching(things.c.made == naive) == [first], "a naive time is UTC"
    assert await matching(things.c.price < Decimal("10")) == [first]
    assert await matching(things.c.price == Decimal("10.00")) == [second]


async def test_a_statement_for_many_rows_takes_effect_for_all_or_none(db):
    with pytest.raises(Exception, match=r"(?i)unique"):
        await db.run_many(sa.insert(people), [{"name": "Eva"}, {"name": "Ada"}])
    assert await names(db) == ["Ada", "Bob"]
    await db.run_many(sa.insert(people), [{"name": "Eva"}, {"name": "Tom"}])
    assert await names(db) == ["Ada", "Bob", "Eva", "Tom"]


async def test_a_statement_for_no_rows_does_nothing(db):
    await db.run_many(sa.insert(people), [])
    assert await names(db) == ["Ada", "Bob"]


async def test_a_script_runs_in_the_open_transaction(db):
    async with db.transaction(force_rollback=True):
        await db.script(
            "INSERT INTO people (name) VALUES ('a;b'); DELETE FROM people WHERE name = 'Ada';"
        )
        assert await names(db) == ["Bob", "a;b"]
    assert await names(db) == ["Ada", "Bob"]


async def test_what_databases_offers_works_in_the_same_transaction(db):
    async with db.transaction(force_rollback=True):
        await db.execute(sa.insert(people).values(name="Eva", age=5))
        await db.execute_many("INSERT INTO people (name) VALUES (:name)", [{"name": "Tom"}])
        assert await names(db) == ["Ada", "Bob", "Eva", "Tom"]
        age = "SELECT age FROM people WHERE name = :name"
        assert await db.fetch_val(age, {"name": "Eva"}) == 5
        first = await db.fetch_one(sa.select(people).where(people.c.id == 1))
        assert first["name"] == "Ada"
        assert len(await db.fetch_all(sa.select(people))) == 4
        rows = [row async for row in db.iterate("SELECT name FROM people ORDER BY id")]
        assert [row["name"] for row in rows[:2]] == ["Ada", "Bob"]
    assert await names(db) == ["Ada", "Bob"]


# Connecting


async def test_a_database_that_is_not_connected_says_so(database_url):
    database = Database(database_url)
    for use in (
        database.run(sa.text("SELECT 1")),
        database.script("SELECT 1"),
        database.transaction().start(),
    ):
        with pytest.raises(
            DatabaseError, match="the database is not connected: use `async with database:`"
        ):
            await use
    assert not database.in_transaction


async def test_a_database_can_be_connected_again(database_url):
    database = Database(database_url)
    for _ in range(2):
        async with database:
            assert (await database.run(sa.text("SELECT 1 AS a"))).rows == [{"a": 1}]
        assert not database.is_connected


async def test_references_between_tables_are_checked(db):
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await db.run(sa.insert(pets).values(owner=99))


# Tables


async def test_tables_can_be_created_twice(db):
    await db.create_tables(metadata)
    await db.create_tables(people)
    await db.create_tables([pets, people])
    assert await names(db) == ["Ada", "Bob"]


async def test_tables_are_created_in_the_order_of_their_references(database):
    await database.create_tables([pets, people])
    await database.run(sa.insert(people).values(id=1, name="Ada"))
    await database.run(sa.insert(pets).values(owner=1))


async def test_processes_may_create_tables_at_the_same_time(database_url):
    databases = [Database(database_url) for _ in range(6)]
    await asyncio.gather(*[database.connect() for database in databases])
    await asyncio.gather(*[database.create_tables(metadata) for database in databases])
    for database in databases:
        assert await names(database) == []
    await asyncio.gather(*[database.disconnect() for database in databases])


async def test_an_index_that_is_missing_is_created(database):
    await database.create_tables(people)
    await database.script("DROP INDEX ix_people_name")
    await database.create_tables(people)
    await database.script("DROP INDEX ix_people_name")


async def test_tables_are_dropped_in_the_order_of_their_references_and_can_be_missing(db):
    await db.run(sa.insert(pets).values(owner=1))
    for _ in range(2):
        await db.drop_tables(metadata)
    with pytest.raises(Exception, match=r"(?i)no such table|does not exist"):
        await names(db)


# PostgreSQL


@pytest.fixture
async def postgres(postgres_url):
    async with Database(postgres_url) as database:
        yield database


@pytest.mark.parametrize("own", ["0", "7s"])
async def test_tables_that_are_created_in_a_transaction_leave_its_wait_for_locks(postgres, own):
    async def limit():
        return (await postgres.run(sa.text("SHOW lock_timeout"))).rows[0]["lock_timeout"]

    async with postgres.transaction():
        await postgres.script(f"SET LOCAL lock_timeout = '{own}'")
        await postgres.create_tables(people)
        assert await limit() == own
        with pytest.raises(ZeroDivisionError):
            async with postgres.defining():
                assert await limit() == "1s"
                raise ZeroDivisionError
        assert await limit() == own
    assert await limit() == "0"


@pytest.fixture
def channel():
    return f"channel_{secrets.token_hex(6)}"


async def test_a_schema_that_is_missing_is_created_by_whoever_comes_first(postgres, postgres_url):
    schema = f"t_{secrets.token_hex(6)}"
    url = f"{postgres_url.partition('?')[0]}?schema={schema}"
    databases = [Database(url) for _ in range(4)]
    await asyncio.gather(*[database.connect() for database in databases])
    await databases[0].create_tables(people)
    assert await names(databases[1]) == []
    with pytest.raises(Exception, match='relation "people" does not exist'):
        await names(postgres)
    await asyncio.gather(*[database.disconnect() for database in databases])
    await postgres.script(f"DROP SCHEMA {schema} CASCADE")


async def test_a_schema_is_still_the_one_of_a_connection_that_was_used_before(postgres_url):
    async with Database(f"{postgres_url}&max_size=1") as database:
        await database.create_tables(people)
        await database.script("SET search_path TO public")
        assert await names(database) == []


async def test_a_notification_wakes_whoever_listens(postgres, postgres_url, channel):
    assert postgres.can_notify
    woken, woken_by_second = asyncio.Event(), asyncio.Event()
    async with (
        Database(postgres_url) as listening,
        listening.listen(channel, woken.set),
        listening.listen(f"{channel}_2", woken_by_second.set),
        asyncio.timeout(PATIENCE),
    ):
        await postgres.notify(channel)
        await woken.wait()
        woken.clear()
        await postgres.notify(f"{channel}_2")
        await woken_by_second.wait()
        assert not woken.is_set()


async def test_a_notification_does_not_wait_for_the_transaction_of_the_task(postgres, channel):
    woken = asyncio.Event()
    async with postgres.listen(channel, woken.set), postgres.transaction(force_rollback=True):
        await postgres.notify(channel)
        await asyncio.wait_for(woken.wait(), PATIENCE)


async def test_a_notification_that_is_refused_is_an_error_of_ours(postgres):
    with pytest.raises(DatabaseError, match="channel name too long"):
        await postgres.notify("x" * 64)


async def test_a_listener_that_lost_its_connection_comes_back_and_is_woken(postgres, channel):
    woken = asyncio.Event()
    kill = sa.text(
        "SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity WHERE query = :query"
    )
    async with postgres.listen(channel, woken.set), asyncio.timeout(PATIENCE):
        assert (await postgres.run(kill, {"query": f'LISTEN "{channel}"'})).rows == [{"done": True}]
        await woken.wait()
        woken.clear()
        await postgres.notify(channel)
        await woken.wait()


async def test_nobody_listens_after_the_context(postgres, channel):
    def listeners():
        return [task for task in asyncio.all_tasks() if task.get_name() == "Listener"]

    async with postgres.listen(channel, asyncio.Event().set):
        assert len(listeners()) == 1
    assert listeners() == []


# SQLite


async def test_sqlite_has_no_notifications(sqlite_url):
    woken = asyncio.Event()
    async with Database(sqlite_url) as database, database.listen("channel", woken.set):
        assert not database.can_notify
        await database.notify("channel")
    assert not woken.is_set()


async def test_a_database_in_memory_is_one_for_all_tasks():
    async with Database("sqlite:///:memory:") as database:
        await database.create_tables(people)
        await asyncio.gather(
            *[database.run(sa.insert(people).values(name=str(n))) for n in range(10)]
        )
        assert len(await names(database)) == 10


async def test_a_file_can_be_opened_for_reading_alone(sqlite_url):
    async with Database(sqlite_url) as database:
        await database.script("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    async with Database(f"{sqlite_url}?mode=ro") as database:
        assert (await database.run(sa.text("SELECT a FROM t"))).rows == [{"a": 1}]
        with pytest.raises(DatabaseError, match="readonly database"):
            await database.run(sa.text("INSERT INTO t VALUES (2)"))


async def test_a_file_that_must_exist_is_missed_when_connecting(sqlite_url):
    database = Database(f"{sqlite_url}?mode=rw")
    with pytest.raises(DatabaseError, match="unable to open database file"):
        await database.connect()
    assert not database.is_connected


async def test_a_new_file_that_another_process_has_locked_is_waited_for(sqlite_url, tmp_path):
    locking = sqlite3.connect(tmp_path / "test.sqlite", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    database = Database(sqlite_url)
    connecting = asyncio.create_task(database.connect())
    ended, _ = await asyncio.wait([connecting], timeout=0.1)
    locking.execute("COMMIT")
    locking.close()
    assert not ended
    await connecting
    await database.disconnect()


async def test_a_new_file_that_stays_locked_is_given_up(sqlite_url, tmp_path):
    locking = sqlite3.connect(tmp_path / "test.sqlite", isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        await Database(f"{sqlite_url}?timeout=0.05").connect()
    locking.close()


async def test_no_thread_of_sqlite_is_left_after_disconnecting(sqlite_url):
    before = set(threading.enumerate())
    database = Database(sqlite_url)
    await database.connect()
    session = database.connection().session
    await session.acquire()
    busy = asyncio.create_task(session.fetch(database._compiler.prepare(LONG)))
    await asyncio.wait([busy], timeout=0.05)
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
    session.discard()
    await asyncio.gather(*[database.run(sa.text("SELECT 1")) for _ in range(10)])
    await database.disconnect()
    threads = set(threading.enumerate()) - before
    workers = [thread for thread in threads if "_connection_worker_thread" in thread.name]
    await eventually(lambda: not any(worker.is_alive() for worker in workers))


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_disconnect_of_sqlite_leaves_no_thread(sqlite_url, turns):
    before = set(threading.enumerate())
    database = Database(sqlite_url)
    await database.connect()
    await asyncio.gather(*[database.run(sa.text("SELECT 1")) for _ in range(10)])
    disconnecting = asyncio.create_task(database.disconnect())
    for _ in range(turns):
        await asyncio.sleep(0)
    disconnecting.cancel()
    await asyncio.gather(disconnecting, return_exceptions=True)
    if not turns:  # it has not begun
        await database.disconnect()
    workers = set(threading.enumerate()) - before
    await eventually(lambda: not any(worker.is_alive() for worker in workers))


async def test_a_refused_row_is_an_error_of_ours_with_the_drivers_as_its_cause_and_without_values(
    database,
):
    await database.script("CREATE TABLE refusing (a varchar(50) UNIQUE NOT NULL)")
    table = sa.table("refusing", sa.column("a", sa.String))
    await database.run(sa.insert(table).values(a="hunter2"))
    for value in ("hunter2", None):
        with pytest.raises(IntegrityError, match="refuses the row") as caught:
            await database.run(sa.insert(table).values(a=value))
        assert "hunter2" not in str(caught.value)
        assert type(caught.value.__cause__).__module__.partition(".")[0] in ("sqlite3", "asyncpg")
    with pytest.raises(IntegrityError):
        await database.run_many(sa.insert(table), [{"a": "new"}, {"a": "hunter2"}])
    assert len((await database.run(sa.select(table))).rows) == 1


async def test_a_statement_that_is_wrong_is_an_error_of_ours(database):
    with pytest.raises(DatabaseError, match="no_such_table"):
        await database.run(sa.text("SELECT * FROM no_such_table"))


async def test_a_postgresql_that_is_not_there_is_unavailable():
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await Database("postgresql://nobody@127.0.0.1:1/nothing").connect()


async def test_a_commit_that_a_deferred_constraint_refuses_is_an_error_of_ours(postgres_url):
    async with Database(postgres_url) as database:
        await database.script("CREATE TABLE late (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        with pytest.raises(IntegrityError):
            async with database.transaction():
                await database.script("INSERT INTO late VALUES (1), (1)")


async def test_what_a_callback_raises_is_left_as_it_is(database):
    async def fails() -> None:
        raise OSError("the mail server")

    with pytest.raises(OSError, match="the mail server"):
        async with database.transaction():
            database.on_commit(fails)


@pytest.mark.parametrize(
    "change",
    [
        lambda database: database.run(sa.text("SET application_name = 'changed'")),
        lambda database: database.run(
            sa.select(sa.func.set_config("application_name", "changed", False))
        ),
        lambda database: database.run(
            sa.select(sa.literal_column("set_config('application_name', 'changed', false)"))
        ),
        lambda database: database.script("SET application_name = 'changed'"),
        lambda database: database.execute("SET application_name = 'changed'"),
        lambda database: database.fetch_all(
            "SELECT set_config('application_name', 'changed', false)"
        ),
        lambda database: database.fetch_one(
            "SELECT set_config('application_name', 'changed', false)"
        ),
        lambda database: database.fetch_val(
            "SELECT set_config('application_name', 'changed', false)"
        ),
    ],
)
async def test_what_one_task_sets_in_its_session_the_next_one_does_not_find(postgres_url, change):
    async with Database(postgres_url, min_size=1, max_size=1) as database:
        table = sa.table("pg_class", sa.column("relname"))
        await database.run(sa.select(table.c.relname).limit(1))
        await change(database)
        await database.run(sa.select(table.c.relname).limit(1))
        rows = (await database.run(sa.text("SHOW application_name"))).rows
        assert rows != [{"application_name": "changed"}]


async def test_statements_of_models_cost_no_reset(postgres_url, monkeypatch):
    resets = []
    reset = asyncpg.Connection.reset

    async def counted(self, **options):
        resets.append(1)
        await reset(self, **options)

    monkeypatch.setattr(asyncpg.Connection, "reset", counted)
    async with Database(postgres_url) as database:
        await database.create_tables(people)
        await database.run(sa.insert(people).returning(people.c.id), {"id": 1})
        await database.run(sa.update(people).where(people.c.id == 1).values(id=2))
        await database.run(sa.select(sa.func.count()).select_from(people))
        assert resets == []
        await database.run(sa.text("SELECT 1"))
        assert resets == [1]
