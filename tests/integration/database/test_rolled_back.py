"""Check the transaction that all tasks of a test share, and that takes their work back."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

import edgy_bus as edgy
from edgy_bus.database import sharing
from edgy_bus.errors import DatabaseError, DatabaseLocked

metadata = sa.MetaData()
notes = sa.Table("notes", metadata, sa.Column("n", sa.Integer, primary_key=True))


@pytest.fixture
async def db(database: edgy.Database) -> AsyncIterator[edgy.Database]:
    await database.create_tables([notes])
    yield database
    assert await numbers(database) == [], "something was not rolled back"


async def numbers(db: edgy.Database) -> list[int]:
    rows = (await db.run(sa.select(notes).order_by(notes.c.n))).rows
    return [row["n"] for row in rows]


async def add(db: edgy.Database, n: int) -> None:
    await db.run(sa.insert(notes).values(n=n))


async def test_every_task_works_in_the_transaction_one_after_another(db: edgy.Database) -> None:
    before = asyncio.Event()
    inside = asyncio.Event()

    async def earlier() -> None:
        before.set()
        await inside.wait()
        await add(db, 1)

    task = asyncio.create_task(earlier())
    await before.wait()
    async with db.rolled_back():
        inside.set()

        async def transact(n: int) -> None:
            async with db.transaction():
                await add(db, n)
                await asyncio.sleep(0)
                async with db.transaction():
                    await add(db, n + 10)

        await asyncio.gather(task, transact(2), transact(3), add(db, 4))
        assert await numbers(db) == [1, 2, 3, 4, 12, 13]
        assert await db.fetch_val("SELECT count(*) FROM notes") == 6


async def test_rollbacks_and_errors_concern_their_task_alone(db: edgy.Database) -> None:
    async with db.rolled_back():
        await add(db, 1)
        with pytest.raises(edgy.IntegrityError):
            await add(db, 1)
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                await add(db, 2)
                _ = 1 / 0
        with pytest.raises(edgy.IntegrityError):
            async with db.transaction():
                await add(db, 3)
                await add(db, 1)
        await add(db, 4)
        async with db.connection():
            await add(db, 5)
            with pytest.raises(edgy.IntegrityError):
                await add(db, 1)
            await add(db, 6)
        assert await numbers(db) == [1, 4, 5, 6]


async def test_a_task_that_is_cancelled_anywhere_leaves_nothing(db: edgy.Database) -> None:
    async def work() -> None:
        async with db.transaction():
            await add(db, 1)
            async with db.transaction():
                await add(db, 2)
        await add(db, 3)

    async with db.rolled_back():
        for steps in range(60):
            task = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0.0003)
            task.cancel()
            await asyncio.wait([task])
            left = await numbers(db)
            assert left in ([], [1, 2], [1, 2, 3])
            await db.run(notes.delete())


async def test_a_task_that_waits_for_another_in_its_transaction_gets_an_error(
    db: edgy.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "TURN", 0.1)
    begin = asyncio.Event()

    async def other() -> None:
        await begin.wait()
        await add(db, 1)

    async with db.rolled_back():
        task = asyncio.create_task(other())
        async with db.transaction():
            begin.set()
            with pytest.raises(DatabaseLocked, match="tasks take turns"):
                await task


async def test_what_goes_on_after_the_end_is_told_why_it_fails(db: edgy.Database) -> None:
    ended = asyncio.Event()

    async def late() -> None:
        async with db.connection():
            await ended.wait()
            async with db.connection():
                await add(db, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "TURN", 0.1)
        async with db.rolled_back():
            task = asyncio.create_task(late())
            await asyncio.sleep(0.01)
        ended.set()
        with pytest.raises(DatabaseError):
            await task


async def test_blocks_do_not_nest(db: edgy.Database) -> None:
    async with db.rolled_back():
        with pytest.raises(DatabaseError, match="already"):
            async with db.rolled_back():
                pass
    unconnected = edgy.Database("sqlite://")
    with pytest.raises(DatabaseError, match="not connected"):
        async with unconnected.rolled_back():
            pass


async def test_tasks_join_a_transaction_that_is_rolled_back_in_any_case(db: edgy.Database) -> None:
    async with db.transaction(force_rollback=True):
        await add(db, 1)
        await asyncio.gather(add(db, 2), add(db, 3))
        assert await asyncio.create_task(numbers(db)) == [1, 2, 3]
        async with db.transaction():
            with pytest.raises(DatabaseError, match="nested transaction"):
                await asyncio.create_task(add(db, 4))
