"""A SQLite connection in a thread: closed event loops, logs and interruptions."""

import asyncio
import logging
import sqlite3
from contextlib import closing

import pytest

from edgy_bus.database.backends import sqlite_connection
from edgy_bus.database.backends.sqlite_connection import ThreadConnection


def new() -> ThreadConnection:
    return ThreadConnection(lambda: sqlite3.connect(":memory:", isolation_level=None))


async def close(connection: ThreadConnection) -> None:
    await connection.close()
    await connection.join()


async def test_values_stay_out_of_the_log_of_the_driver(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        connection = await new()
        await connection.execute_fetchall("SELECT ?", ("hunter2",))
        await close(connection)
    assert "aiosqlite" in {record.name for record in caplog.records}
    assert "hunter2" not in caplog.text


def test_the_thread_outlives_an_event_loop_that_was_closed_during_a_statement() -> None:
    connection = new()
    slow = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 3000000) "
        "SELECT count(*) FROM c"
    )

    async def begins() -> None:
        await connection
        nobody_awaits.append(asyncio.ensure_future(connection.execute_fetchall(slow)))
        await asyncio.sleep(0)

    async def goes_on() -> list[tuple[int]]:
        async with asyncio.timeout(20):
            rows = list(await connection.execute_fetchall("SELECT 1"))
        await close(connection)
        return rows

    nobody_awaits: list[asyncio.Future[object]] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begins())
    loop.close()
    assert asyncio.run(goes_on()) == [(1,)]


async def test_a_rollback_comes_before_the_statements_that_follow() -> None:
    connection = await new()
    await connection.execute_fetchall("CREATE TABLE a (b)")
    await connection.execute_fetchall("BEGIN")
    await connection.execute_fetchall("INSERT INTO a VALUES (1)")
    connection.roll_back_soon()
    assert list(await connection.execute_fetchall("SELECT * FROM a")) == []
    await connection.execute_fetchall("BEGIN")
    await close(connection)


async def test_a_connection_that_its_thread_has_just_closed_can_be_interrupted() -> None:
    connection = await new()
    # As in the moment in which `stop` has closed the connection, and has not dropped it yet.
    await connection._execute(connection._conn.close)
    connection.interrupt_now()
    connection.roll_back_soon()
    await close(connection)


async def test_a_connection_that_was_for_reading_can_write_after_a_rollback() -> None:
    connection = await new()
    await connection.execute_fetchall("CREATE TABLE a (b)")
    await connection.execute_fetchall("BEGIN")
    await connection.execute_fetchall("PRAGMA query_only = ON")
    connection.roll_back_soon()
    await connection.execute_fetchall("INSERT INTO a VALUES (1)")
    await close(connection)


def test_a_rollback_that_is_interrupted_is_tried_again() -> None:
    class Interrupted(sqlite3.Connection):
        """A connection whose rollback is hit by an interruption of a statement behind it."""

        left = 2

        def rollback(self) -> None:
            self.left -= 1
            if self.left >= 0:
                raise sqlite3.OperationalError("interrupted")
            super().rollback()

    with closing(sqlite3.connect(":memory:", factory=Interrupted)) as connection:
        connection.execute("BEGIN")
        sqlite_connection._clean(connection)
        assert not connection.in_transaction


async def test_a_cancelled_statement_ends() -> None:
    connection = await new()
    endless = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    )
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.execute_fetchall(endless)
    async with asyncio.timeout(20):
        assert list(await connection.execute_fetchall("SELECT 1")) == [(1,)]
    await close(connection)
