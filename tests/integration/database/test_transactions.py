"""Test transactions: commit, rollback, callbacks, and that no connection is ever lost."""

import asyncio
import contextvars
import sqlite3

import pytest
import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError

PATIENCE = 20.0
"""Seconds after which an expected event counts as missing."""

metadata = sa.MetaData()
notes = sa.Table(
    "notes", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer)
)
pairs = sa.Table(
    "pairs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("other", sa.ForeignKey("pairs.id", deferrable=True, initially="DEFERRED")),
)
BUSY = sa.text(
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) "
    "SELECT count(*) FROM c"
)
"""A statement that takes a while."""


class Undo(Exception):
    """Rolls a transaction back."""


def apart(work):
    """Start a task that does not inherit the open transaction of the current task."""
    return asyncio.create_task(work, context=contextvars.Context())


@pytest.fixture
async def db(database):
    await database.create_tables(metadata)
    return database


@pytest.fixture(params=["memory", "postgresql"])
async def scarce(request):
    """Open a database with one or two connections: a lost connection soon blocks every task."""
    memory = request.param == "memory"
    url = (
        "sqlite:///:memory:" if memory else f"{request.getfixturevalue('postgres_url')}&max_size=2"
    )
    async with Database(url) as database:
        await database.create_tables(metadata)
        yield database


async def add(database, *numbers):
    for n in numbers:
        await database.run(sa.insert(notes).values(n=n))


async def numbers(database):
    result = await database.run(sa.select(notes.c.n).order_by(notes.c.id))
    return [row["n"] for row in result.rows]


async def add_and_fail(database, *numbers):
    async with database.transaction():
        await add(database, *numbers)
        raise Undo


async def has_all_its_connections(database):
    """Run two transactions at a time, more often than there are connections."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(3):
            await asyncio.gather(*[_count(database) for _ in range(2)])
    return not database.in_transaction


async def _count(database):
    async with database.transaction():
        await database.run(sa.text("SELECT 1"))


async def turns(count):
    """Let the event loop run `count` rounds."""
    for _ in range(count):
        turn = asyncio.Event()
        asyncio.get_running_loop().call_soon(turn.set)
        await turn.wait()


# Commit, rollback, savepoints


async def test_what_a_transaction_did_is_there_for_others_after_its_commit(db):
    async with db.transaction():
        assert db.in_transaction
        await add(db, 1)
        assert await numbers(db) == [1]
        assert await apart(numbers(db)) == []
    assert not db.in_transaction
    assert await asyncio.create_task(numbers(db)) == [1]


async def test_an_error_takes_everything_back_and_reaches_the_caller(db):
    with pytest.raises(Undo):
        await add_and_fail(db, 1, 2)
    assert await numbers(db) == []
    assert not db.in_transaction


async def test_an_error_inside_a_savepoint_takes_back_what_it_did_alone(db):
    async with db.transaction():
        await add(db, 1)
        with pytest.raises(Undo):
            await add_and_fail(db, 2)
        await add(db, 3)
        async with db.transaction():
            await add(db, 4)
            with pytest.raises(Undo):
                await add_and_fail(db, 5)
    assert await numbers(db) == [1, 3, 4]


async def test_a_savepoint_is_taken_back_with_the_transaction_around_it(db):
    async def nested():
        async with db.transaction():
            async with db.transaction():
                await add(db, 1)
            raise Undo

    with pytest.raises(Undo):
        await nested()
    assert await numbers(db) == []


async def test_a_statement_that_fails_inside_a_savepoint_leaves_the_transaction_usable(db):
    await db.run(sa.insert(notes).values(id=1, n=0))
    async with db.transaction():
        await db.run(sa.insert(notes).values(id=2, n=1))
        with pytest.raises(Exception, match=r"(?i)unique"):
            async with db.transaction():
                await db.run(sa.insert(notes).values(id=1, n=9))
        await db.run(sa.insert(notes).values(id=3, n=3))
    assert await numbers(db) == [0, 1, 3]


async def test_force_rollback_takes_back_what_went_well(db):
    async with db.transaction(force_rollback=True):
        await add(db, 1)
        async with db.transaction():
            await add(db, 2)
        assert await numbers(db) == [1, 2]
    assert await numbers(db) == []


async def test_force_rollback_of_a_savepoint_leaves_the_rest(db):
    async with db.transaction():
        await add(db, 1)
        async with db.transaction(force_rollback=True):
            await add(db, 2)
    assert await numbers(db) == [1]


async def test_a_transaction_can_be_begun_and_ended_by_hand(db):
    transaction = await db.transaction().start()
    await add(db, 1)
    await transaction.rollback()
    transaction = await db.transaction()
    await add(db, 2)
    await transaction.commit()
    assert await numbers(db) == [2]


async def test_a_transaction_can_be_used_again_after_its_end(db):
    transaction = db.transaction()
    for n in (1, 2):
        async with transaction:
            await add(db, n)
    assert await numbers(db) == [1, 2]


async def test_a_transaction_is_open_once(db):
    async with db.transaction() as transaction:
        with pytest.raises(
            DatabaseError, match=r"open already: call `database\.transaction\(\)` for another one"
        ):
            await transaction.start()
        await add(db, 1)
    for end in (transaction.commit, transaction.rollback):
        with pytest.raises(DatabaseError, match="this transaction is not open"):
            await end()
    assert await numbers(db) == [1]


async def test_transactions_end_in_the_opposite_order_of_their_beginning(db):
    outer = await db.transaction().start()
    inner = await db.transaction().start()
    with pytest.raises(DatabaseError, match="only after those that were begun inside it"):
        await outer.commit()
    await inner.commit()
    await outer.commit()
    assert not db.in_transaction


async def test_a_decorated_function_has_a_transaction_at_every_call(db):
    @db.transaction()
    async def write(*values, fail=False):
        """Writes."""
        assert db.in_transaction
        await add(db, *values)
        if fail:
            raise Undo
        return sum(values)

    assert await write(1, 2) == 3
    with pytest.raises(Undo):
        await write(4, fail=True)
    assert await asyncio.gather(*[write(5) for _ in range(5)]) == [5] * 5
    assert await numbers(db) == [1, 2] + [5] * 5
    assert (write.__name__, write.__doc__) == ("write", "Writes.")


async def test_a_held_connection_is_the_one_of_the_transaction(db):
    async with db.connection() as connection:
        assert db.connection() is connection
        with pytest.raises(Undo):
            await add_and_fail(db, 1)
        async with db.transaction():
            assert db.connection() is connection
            await add(db, 2)
    assert await numbers(db) == [2]


# On commit


async def test_a_transaction_that_ends_in_another_task_leaves_its_own_task(db):
    transaction = db.transaction()
    await transaction.start()
    await add(db, 1)

    async def ends():
        await transaction.rollback()

    await asyncio.create_task(ends())
    assert db._current is None
    assert await numbers(db) == []


async def test_a_task_that_connects_anew_keeps_the_new_connection_when_it_leaves_the_former(
    postgres_url,
):
    async with Database(f"{postgres_url}&close_timeout=0.1") as database:
        async with database.connection():
            # Cuts the connection, and forgets that this task has it.
            await database.disconnect()
            await database.connect()
            connection = await database.connection().__aenter__()
        assert database._current is connection
        await connection.__aexit__()
        assert database._current is None


async def test_callbacks_run_in_order_after_the_outermost_commit(db):
    seen = []

    async def later():
        seen.append(("async", await numbers(db), db.in_transaction))

    async with db.transaction():
        db.on_commit(lambda: seen.append("first"))
        async with db.transaction():
            db.on_commit(lambda: seen.append("second"))
            await add(db, 1)
        db.on_commit(later)
        assert seen == []
    assert seen == ["first", "second", ("async", [1], False)]


async def test_callbacks_are_dropped_with_what_is_taken_back(db):
    seen = []

    async def failing(name):
        async with db.transaction():
            db.on_commit(lambda: seen.append(name))
            async with db.transaction():
                db.on_commit(lambda: seen.append(f"inside {name}"))
            raise Undo

    with pytest.raises(Undo):
        await failing("transaction")
    async with db.transaction():
        db.on_commit(lambda: seen.append("kept"))
        with pytest.raises(Undo):
            await failing("savepoint")
    async with db.transaction(force_rollback=True):
        db.on_commit(lambda: seen.append("forced"))
    assert seen == ["kept"]


async def test_callbacks_are_not_run_again_by_the_next_transaction(db):
    seen, transaction = [], db.transaction()
    async with transaction:
        db.on_commit(lambda: seen.append(1))
    async with transaction:
        await add(db, 1)
    assert seen == [1]


async def test_callbacks_need_a_transaction(db):
    async with db.connection():
        for _ in range(2):
            with pytest.raises(DatabaseError, match=r"on_commit\(\) needs an open transaction"):
                db.on_commit(lambda: None)
            async with db.transaction():
                await add(db, 1)


async def test_what_a_callback_raises_is_raised_when_all_of_them_have_run(db):
    seen = []

    async def broken():
        seen.append("broken")
        raise Undo

    async def commit():
        async with db.transaction():
            await add(db, 1)
            db.on_commit(broken)
            db.on_commit(lambda: 1 / 0)
            db.on_commit(lambda: seen.append("next"))

    with pytest.raises(Undo):
        await commit()
    assert seen == ["broken", "next"]
    assert await numbers(db) == [1]


async def test_a_callback_may_open_a_transaction(db):
    seen = []

    async def again():
        async with db.transaction():
            db.on_commit(lambda: seen.append("again"))
            await add(db, 2)

    async with db.transaction():
        await add(db, 1)
        db.on_commit(again)
    assert seen == ["again"]
    assert await numbers(db) == [1, 2]


# On rollback


async def test_undos_run_last_first_for_all_that_is_taken_back(db):
    seen = []

    async def work():
        async with db.transaction():
            db.on_rollback(lambda: seen.append("first"))
            async with db.transaction():
                db.on_rollback(lambda: seen.append("second"))
            db.on_rollback(lambda: seen.append("third"))
            with pytest.raises(ZeroDivisionError):
                await fail_inside()
            assert seen == ["inside"], "a savepoint takes back its own work only"
            raise Undo

    async def fail_inside():
        async with db.transaction():
            db.on_rollback(lambda: seen.append("inside"))
            raise ZeroDivisionError

    with pytest.raises(Undo):
        await work()
    assert seen == ["inside", "third", "second", "first"]


async def test_undos_do_not_run_after_a_commit(db):
    seen, transaction = [], db.transaction()
    async with transaction:
        db.on_rollback(lambda: seen.append("kept"))
        async with db.transaction():
            db.on_rollback(lambda: seen.append("kept inside"))
    await transaction.start()
    await transaction.rollback()
    async with db.transaction(force_rollback=True):
        db.on_rollback(lambda: seen.append("forced"))
    assert seen == ["forced"]


async def test_undos_run_when_a_commit_fails(scarce):
    seen = []

    async def fail():
        async with scarce.transaction():
            scarce.on_rollback(lambda: seen.append("undone"))
            await fail_at_commit(scarce, lambda: None)

    with pytest.raises(Exception, match=r"(?i)foreign key constraint"):
        await fail()
    assert seen == ["undone"]


async def test_undos_need_a_transaction(db):
    with pytest.raises(DatabaseError, match=r"on_rollback\(\) needs an open transaction"):
        db.on_rollback(lambda: None)


# Nothing is lost


async def fail_at_commit(database, callback):
    async with database.transaction():
        database.on_commit(callback)
        await database.run(sa.insert(pairs).values(id=1, other=99))


async def test_a_commit_that_fails_takes_everything_back_and_gives_its_connection_back(scarce):
    seen = []
    for _ in range(5):
        with pytest.raises(Exception, match=r"(?i)foreign key constraint"):
            await asyncio.wait_for(
                fail_at_commit(scarce, lambda: seen.append("committed")), PATIENCE
            )
        assert not scarce.in_transaction
    assert seen == []
    assert (await scarce.run(sa.select(pairs))).rows == []
    assert await has_all_its_connections(scarce)


async def test_a_savepoint_that_cannot_be_made_leaves_the_transaction_around_it(scarce):
    async def fail():
        async with scarce.transaction():
            with pytest.raises(Exception, match=r"(?i)syntax"):
                await scarce.script("NONSENSE")
            await scarce.transaction().start()
            await scarce.transaction().start()
            raise Undo

    for _ in range(4):
        with pytest.raises(Exception, match=r"(?i)^$|aborted|begun inside"):
            await fail()
        connection = scarce._current
        while connection is not None and connection.open_transactions:
            await connection.open_transactions[-1].rollback()
    assert await has_all_its_connections(scarce)


async def test_wherever_a_transaction_is_cancelled_its_connection_comes_back(scarce):
    async def work():
        async with scarce.transaction():
            await add(scarce, 1)
            async with scarce.transaction():
                await add(scarce, 2)

    for count in range(60):
        await scarce.create_tables(metadata)  # a database in memory is gone with its connection
        task = asyncio.create_task(work())
        await turns(count)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await has_all_its_connections(scarce)


async def test_a_statement_that_is_cancelled_while_it_runs_gives_its_connection_back(scarce):
    began = asyncio.Event()

    async def work():
        async with scarce.transaction():
            began.set()
            await scarce.run(BUSY)

    for _ in range(4):
        began.clear()
        task = asyncio.create_task(work())
        await asyncio.wait_for(began.wait(), PATIENCE)
        await asyncio.wait([task], timeout=0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await has_all_its_connections(scarce)


async def test_whoever_is_cancelled_while_waiting_for_a_connection_takes_none(scarce):
    async with scarce.transaction(), asyncio.timeout(PATIENCE):
        waiting = [asyncio.create_task(_count(scarce)) for _ in range(5)]
        await turns(5)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert await has_all_its_connections(scarce)


# PostgreSQL


@pytest.fixture
async def postgres(postgres_url):
    async with Database(f"{postgres_url}&max_size=2") as database:
        await database.create_tables(metadata)
        yield database


async def test_a_commit_that_the_server_turned_into_a_rollback_is_an_error(postgres):
    async def commit():
        async with postgres.transaction():
            await add(postgres, 1)
            with pytest.raises(Exception, match="division by zero"):
                await postgres.run(sa.text("SELECT 1 / 0"))

    for _ in range(3):
        with pytest.raises(
            DatabaseError,
            match=r"rolled back instead of committed.*put such a statement in a nested",
        ):
            await commit()
    assert await numbers(postgres) == []
    assert await has_all_its_connections(postgres)


async def test_a_statement_that_waits_for_a_lock_can_be_cancelled(postgres, postgres_url):
    lock = sa.text("SELECT pg_advisory_xact_lock(hashtext(current_schema()))")

    async def work():
        async with postgres.transaction():
            await postgres.run(lock)

    async with Database(postgres_url) as locking, locking.transaction():
        await locking.run(lock)
        for _ in range(4):
            task = asyncio.create_task(work())
            ended, _ = await asyncio.wait([task], timeout=0.05)
            assert not ended
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    await asyncio.wait_for(work(), PATIENCE)
    assert await has_all_its_connections(postgres)


async def test_a_connection_that_the_server_cut_is_replaced(postgres):
    async def cut():
        async with postgres.transaction():
            await add(postgres, 1)
            await postgres.run(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    for _ in range(3):
        with pytest.raises(Exception, match=r"(?i)terminat|closed"):
            await cut()
    assert await numbers(postgres) == []
    assert await has_all_its_connections(postgres)


@pytest.mark.parametrize(
    "level", ["serializable", "repeatable_read", "repeatable read", "read committed"]
)
async def test_an_isolation_level_is_that_of_the_transaction(postgres, level):
    show = sa.text("SHOW transaction_isolation")
    async with postgres.transaction(isolation=level):
        assert (await postgres.run(show)).rows == [
            {"transaction_isolation": level.replace("_", " ")}
        ]
    assert (await postgres.run(show)).rows == [{"transaction_isolation": "read committed"}]


async def test_an_unknown_isolation_level_is_refused_and_takes_no_connection(postgres):
    for _ in range(3):
        with pytest.raises(
            DatabaseError, match="unknown isolation level 'read; DROP': use one of read committed"
        ):
            await postgres.transaction(isolation="read; DROP").start()
    assert await has_all_its_connections(postgres)


async def test_a_transaction_for_reading_cannot_write(postgres):
    async with postgres.transaction(readonly=True, force_rollback=True):
        assert await numbers(postgres) == []
        with pytest.raises(Exception, match="read-only transaction"):
            await add(postgres, 1)


async def test_a_transaction_that_reads_once_more_sees_the_same(postgres):
    async with postgres.transaction(isolation="repeatable_read", readonly=True):
        assert await numbers(postgres) == []
        await apart(add(postgres, 1))
        assert await numbers(postgres) == []
    assert await numbers(postgres) == [1]


# SQLite


@pytest.fixture
async def sqlite(sqlite_url):
    async with Database(sqlite_url) as database:
        await database.create_tables(metadata)
        yield database


async def test_transactions_that_read_and_then_write_do_not_lock_each_other_out(sqlite, sqlite_url):
    async def count_up(database):
        async with database.transaction():
            (n,) = await numbers(database)
            await database.run(sa.update(notes).values(n=n + 1))

    await add(sqlite, 0)
    async with Database(sqlite_url) as second:
        await asyncio.gather(
            *[count_up(database) for database in (sqlite, second) for _ in range(20)]
        )
    assert await numbers(sqlite) == [40]


async def test_whoever_reads_does_not_wait_for_whoever_writes(sqlite):
    async def read():
        async with sqlite.transaction(readonly=True):
            return await numbers(sqlite)

    async with sqlite.transaction(), asyncio.timeout(PATIENCE):
        await add(sqlite, 1)
        assert await apart(read()) == []


async def test_writers_of_a_process_write_in_the_order_in_which_they_came(sqlite):
    seen = []

    async def write(n):
        async with sqlite.transaction():
            seen.append(n)
            await add(sqlite, n)

    tasks = []
    async with sqlite.transaction():
        for n in range(8):
            tasks.append(apart(write(n)))
            await asyncio.wait([tasks[-1]], timeout=0.02)
        assert seen == []
    await asyncio.gather(*tasks)
    assert seen == await numbers(sqlite) == list(range(8))


async def test_a_writer_that_is_cancelled_in_the_queue_does_not_hold_it_up(sqlite):
    async with asyncio.timeout(PATIENCE):
        async with sqlite.transaction():
            tasks = [apart(_count(sqlite)) for _ in range(3)]
            await asyncio.wait(tasks, timeout=0.02)
            tasks[0].cancel()
            tasks[1].cancel()
        first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, asyncio.CancelledError)
    assert third is None
    assert await has_all_its_connections(sqlite)


async def test_a_task_that_waits_for_a_task_that_waits_for_it_is_told_so(sqlite_url):
    async with Database(f"{sqlite_url}?timeout=0.05") as database:
        await database.create_tables(metadata)
        async with database.transaction():
            with pytest.raises(DatabaseError, match=r"kept the database locked for 0\.05 s"):
                await apart(_count(database))
            await add(database, 1)
        assert await numbers(database) == [1]


async def test_whoever_is_cancelled_while_another_process_writes_leaves_no_transaction_behind(
    sqlite, tmp_path
):
    locking = sqlite3.connect(tmp_path / "test.sqlite", isolation_level=None)
    for _ in range(3):
        locking.execute("BEGIN IMMEDIATE")
        task = asyncio.create_task(_count(sqlite))
        ended, _ = await asyncio.wait([task], timeout=0.05)
        assert not ended
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        locking.execute("COMMIT")
    locking.execute("INSERT INTO notes (n) VALUES (1)")
    locking.close()
    assert await numbers(sqlite) == [1]
    assert await has_all_its_connections(sqlite)


@pytest.fixture(params=["sqlite", "memory", "postgresql"])
async def any_database(request):
    url = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}.get(request.param)
    async with Database("sqlite://" if url is None else request.getfixturevalue(url)) as database:
        await database.script("CREATE TABLE t (a int)")
        yield database


async def count(database):
    return (await database.run(sa.text("SELECT count(*) AS n FROM t"))).rows[0]["n"]


async def test_a_task_started_inside_a_transaction_gets_an_error_that_says_why(any_database):
    async with any_database.transaction():
        await any_database.script("INSERT INTO t VALUES (1)")
        with pytest.raises(DatabaseError, match="started inside a transaction of another task"):
            await asyncio.gather(count(any_database))
        assert await count(any_database) == 1
    assert await asyncio.gather(count(any_database)) == [1]


async def test_a_task_started_inside_a_transaction_may_work_when_it_is_over(any_database):
    over = asyncio.Event()

    async def later():
        await over.wait()
        return await count(any_database)

    async with any_database.transaction():
        task = asyncio.create_task(later())
        await any_database.script("INSERT INTO t VALUES (1)")
    over.set()
    assert await task == 1


async def test_a_task_started_inside_a_transaction_may_use_another_database(any_database, tmp_path):
    async with (
        Database(f"sqlite:///{tmp_path / 'second.sqlite'}") as second,
        any_database.transaction(),
    ):
        await second.script("CREATE TABLE t (a int)")
        assert await asyncio.gather(count(second)) == [0]


async def test_a_task_started_before_a_transaction_is_not_concerned(any_database):
    begun = asyncio.Event()

    async def beside():
        await begun.wait()
        return await count(any_database)

    task = asyncio.create_task(beside())
    async with any_database.transaction():
        begun.set()
        await asyncio.sleep(0)
    assert await task == 0
