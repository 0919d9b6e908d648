"""Test transactions that lose against others: the class of the error, and `Database.attempts`."""

import asyncio
import sqlite3
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseError, DatabaseLocked, DatabaseUnavailable, TryAgain

counters = sa.Table(
    "counters",
    sa.MetaData(),
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("value", sa.Integer),
)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    async with Database(postgres_url) as database:
        await database.create_tables(counters)
        for name in "ab":
            await database.run(sa.insert(counters).values(name=name, value=0))
        yield database


async def value(database: Database, name: str = "a") -> int:
    query = sa.select(counters.c.value).where(counters.c.name == name)
    number: int = (await database.run(query)).rows[0]["value"]
    return number


async def put(database: Database, name: str, number: int) -> None:
    await database.run(sa.update(counters).where(counters.c.name == name).values(value=number))


async def test_attempts_repeat_a_transaction_until_it_wins(database: Database) -> None:
    numbers: list[int] = []

    async def add() -> None:
        async for attempt in database.attempts(50, isolation="serializable"):
            async with attempt:
                numbers.append(attempt.number)
                await put(database, "a", await value(database) + 1)

    await asyncio.gather(*(add() for _ in range(8)))
    assert await value(database) == 8
    assert max(numbers) > 1, "no transaction has lost"


async def test_the_last_attempt_raises(database: Database) -> None:
    async def lose() -> None:
        async for attempt in database.attempts(2, isolation="repeatable read"):
            async with attempt:
                number = await value(database)
                await asyncio.create_task(other_writes(database, number + 10))
                await put(database, "a", number + 1)

    with pytest.raises(TryAgain, match="repeat the transaction"):
        await lose()
    assert await value(database) == 20


@pytest.mark.parametrize("at", ["first", "second"])
async def test_what_a_callback_loses_after_the_commit_repeats_nothing(
    database: Database, at: str
) -> None:
    async def lose() -> None:
        raise TryAgain("the callback's own transaction")

    async def work() -> None:
        async for attempt in database.attempts():
            async with attempt:
                await put(database, "a", await value(database) + 1)
                if at == "second" and attempt.number == 1:
                    raise TryAgain("lost")
                database.on_commit(lose)

    with pytest.raises(TryAgain, match="the callback's own"):
        await work()
    assert await value(database) == 1


async def other_writes(database: Database, number: int) -> None:
    async with Database(str(database.url)) as other:
        await put(other, "a", number)


async def test_a_deadlock_says_try_again(database: Database) -> None:
    both = asyncio.Barrier(2)

    async def work(first: str, second: str) -> None:
        async with database.transaction():
            await put(database, first, 1)
            await both.wait()
            await put(database, second, 1)

    results = await asyncio.gather(work("a", "b"), work("b", "a"), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "TryAgain"]


async def test_a_lock_that_is_not_waited_for_says_try_again(
    database: Database, postgres_url: str
) -> None:
    query = sa.select(counters).with_for_update(nowait=True)
    async with Database(postgres_url) as other, other.transaction():
        await put(other, "a", 1)
        with pytest.raises(DatabaseLocked):
            await database.run(query)


async def test_a_locked_file_says_try_again(sqlite_url: str, tmp_path: Path) -> None:
    async with Database(f"{sqlite_url}?timeout=0.05") as database:
        await database.create_tables(counters)
        blocker = sqlite3.connect(tmp_path / "test.sqlite", isolation_level=None)
        try:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(DatabaseLocked) as caught:
                async with database.transaction():
                    pytest.fail("it began")
        finally:
            blocker.close()
        assert isinstance(caught.value, TryAgain)
        assert isinstance(caught.value, DatabaseUnavailable)


async def test_attempts_inside_a_transaction_are_refused(database: Database) -> None:
    async with database.transaction():
        with pytest.raises(DatabaseError, match="only the outermost transaction"):
            database.attempts()


async def test_options_of_the_outermost_transaction_are_refused_inside(
    database: Database,
) -> None:
    async with database.transaction():
        for options in ({"isolation": "serializable"}, {"readonly": True}):
            with pytest.raises(DatabaseError, match="cannot be set inside an open transaction"):
                async with database.transaction(**options):
                    pytest.fail("it began")
        assert await value(database) == 0


async def test_isolation_that_sqlite_does_not_have_is_refused(sqlite_url: str) -> None:
    async with Database(sqlite_url) as database:
        async with database.transaction(isolation="serializable"):
            pass
        with pytest.raises(DatabaseError, match="no isolation level 'read committed'"):
            async with database.transaction(isolation="read committed"):
                pytest.fail("it began")
        async with database.transaction():
            pass


SECRET = "hunter2"
_of = sa.column


@pytest.mark.parametrize(
    "query",
    [
        sa.text("INSERT INTO counters VALUES ('a', 1)"),
        sa.insert(counters).values(name="a", value=0),
        sa.text(f"SELECT CAST('{SECRET}' AS int)"),
        sa.text(f"SELECT CAST('99999999999{SECRET}' AS uuid)"),
        sa.text(f"""SELECT CAST('{{"a": {SECRET}}}' AS json)"""),
        sa.text("SELECT CAST(:x AS uuid)").bindparams(sa.bindparam("x", SECRET, sa.Uuid)),
        sa.text("SELECT CAST(:x AS int) + 1").bindparams(x=SECRET),
        sa.insert(counters).values(name=SECRET * 10, value=0),
        sa.insert(counters).values(name="c", value=2**40),
    ],
)
async def test_no_error_and_no_traceback_contains_a_value(
    database: Database, query: sa.Executable
) -> None:
    await database.run(sa.insert(counters).values(name=SECRET, value=0))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any class
        await database.run(query)
    lines = traceback.format_exception(caught.value)
    # The lines of the source may contain the value; the errors may not.
    told = [line for line in lines if not line.lstrip().startswith("File")]
    assert isinstance(caught.value, DatabaseError), caught.value
    assert SECRET not in "".join(told)
    assert "(a)" not in "".join(told)
