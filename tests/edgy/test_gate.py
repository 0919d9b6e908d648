"""What no event would report is refused, and what an event cannot report is taken back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edgy_bus.errors import EventTooLarge, OperationError
from edgy_bus.integrations.edgy.publishing import lent
from edgy_bus.integrations.edgy.rows import LARGEST
from edgy_bus.settings import EventSettings
from edgy_bus.signals import post_save, pre_save, pre_update
from tests.edgy.shop import Shop, open_shop


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, publish=["post_*"]) as opened:
        await opened.models.Author.query.create(name="Ann", email="a")
        await opened.forget()
        yield opened


def upsert(shop: Shop) -> Any:
    kind = sqlite if shop.database.url.dialect == "sqlite" else postgresql
    inserting = kind.insert(shop.models.Author.table).values(name="x", email="a", pin="", notes=[])
    return inserting.on_conflict_do_update(index_elements=["email"], set_={"name": "x"})


async def in_run_sync(shop: Shop) -> None:
    deleting = sa.delete(shop.models.Author.table)
    await shop.database.run_sync(lambda connection: connection.execute(deleting))


async def in_the_engine(shop: Shop) -> None:
    async with shop.database.engine.begin() as connection:
        await connection.execute(sa.update(shop.models.Author.table).values(name="x"))


async def in_a_stream(shop: Shop) -> None:
    updating = sa.update(shop.models.Author.table).values(name="x").returning(sa.column("id"))
    async for _ in shop.database.iterate(updating):
        pass


async def in_another_schema(shop: Shop) -> None:
    table = shop.models.Author.table.to_metadata(sa.MetaData(), schema="other")
    await shop.database.execute(sa.update(table).values(name="x"))


REFUSED: dict[str, Callable[[Shop], Any]] = {
    "text": lambda s: s.database.execute("UPDATE authors SET name = 'x'"),
    "text with values": lambda s: s.database.execute(
        "DELETE FROM authors WHERE name = :name", {"name": "Ann"}
    ),
    "quoted text": lambda s: s.database.execute('update "authors" set name = name'),
    "several texts": lambda s: s.database.execute_many(
        "UPDATE authors SET name = :name", [{"name": "x"}, {"name": "y"}]
    ),
    "fetched text": lambda s: s.database.fetch_all("DELETE FROM authors RETURNING id"),
    "a common table expression": lambda s: s.database.execute(
        sa.select(sa.literal(1)).add_cte(
            sa.delete(s.models.Author.table).returning(sa.column("id")).cte()
        )
    ),
    "a key": lambda s: s.models.Author.query.filter(name="Ann").update(id=9),
    "a computed key": lambda s: s.database.execute(
        sa.update(s.models.Author.table).values(id=s.models.Author.table.c.id + 0)
    ),
    "an upsert": lambda s: s.database.execute(upsert(s)),
    "run_sync": in_run_sync,
    "the engine": in_the_engine,
    "a stream": in_a_stream,
    "another schema": in_another_schema,
}


# SQLAlchemy leaves the cursor of a stream to the collector, and psycopg complains.
@pytest.mark.filterwarnings("ignore:.*ServerCursorMixin:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", REFUSED)
async def test_changes_without_events_are_refused(shop: Shop, way: str) -> None:
    if way == "a common table expression" and shop.database.url.dialect == "sqlite":
        pytest.skip("SQLite has no changes in common table expressions")
    with pytest.raises(OperationError):
        await REFUSED[way](shop)
    rows = await shop.database.fetch_all(sa.select(shop.models.Author.table))
    assert [(row.id, row.name) for row in rows] == [(1, "Ann")]
    assert await shop.kinds() == []


async def test_statements_of_core_are_published(shop: Shop) -> None:
    database, table = shop.database, shop.models.Author.table
    await database.execute_many(
        sa.insert(table), [{"name": n, "pin": "", "color": "RED", "notes": []} for n in "bcd"]
    )
    key = await database.execute(sa.insert(table).values(name="e", pin="", color="RED", notes=[]))
    assert key.id == 5, "databasez returns the key"
    row = await database.fetch_one(
        sa.insert(table).values(name="f", pin="", color="RED", notes=[]).returning(table.c.name)
    )
    assert tuple(row) == ("f",), "the columns that the caller has asked for"
    await database.execute_many(
        sa.update(table)
        .where(table.c.name == sa.bindparam("old"))
        .values(name=sa.bindparam("new")),
        [{"old": "b", "new": "B"}, {"old": "c", "new": "C"}, {"old": "no", "new": "row"}],
    )
    rows = await database.fetch_all(
        sa.delete(table).where(table.c.id.in_([4, 5])).returning(table.c.id)
    )
    assert sorted(row.id for row in rows) == [4, 5]
    await database.execute(
        sa.insert(table).from_select(
            ["name", "pin", "color", "notes"],
            sa.select(table.c.name, table.c.pin, table.c.color, table.c.notes).where(
                table.c.id == 1
            ),
        )
    )
    kinds = [(signal, subject) for _, signal, subject in await shop.kinds()]
    assert kinds == [
        *(("post_save", str(key)) for key in (2, 3, 4, 5, 6)),
        *(("post_update", key) for key in "23"),
        *(("post_delete", key) for key in "45"),
        ("post_save", "7"),
    ]


async def test_an_insert_from_a_select_cannot_be_asked_about(database_url: str) -> None:
    async with open_shop(database_url) as shop:
        Tag = shop.models.Tag
        inserting = sa.insert(Tag.table).from_select(["name"], sa.select(sa.literal("x")))
        await shop.database.execute(inserting)
        assert await shop.kinds() == [("Tag", "post_save", "1")]

        @pre_save(Tag)
        async def ask(sender: Any, instance: Any, **kwargs: Any) -> None: ...

        with pytest.raises(OperationError, match="INSERT from a SELECT"):
            await shop.database.execute(inserting)
        assert await Tag.query.count() == 1


async def test_a_transaction_of_sqlalchemy_is_refused(shop: Shop) -> None:
    """Nothing would say when it ends, and so when its events are to be relayed."""
    level = "SERIALIZABLE"
    async with shop.database.connection() as connection:
        raw = connection.async_connection
        await raw.execution_options(isolation_level=level)
        async with raw.begin() as transaction:
            with pytest.raises(OperationError, match=r"database\.transaction"):
                await shop.models.Author.query.filter(name="Ann").update(name="x")
            await transaction.rollback()
        await raw.execution_options(isolation_level="AUTOCOMMIT")
    assert await shop.models.Author.query.filter(name="Ann").exists()


async def test_a_transaction_that_was_not_ended_is_forgotten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    Author, woken = shop.models.Author, []
    monkeypatch.setattr(shop.source.writer, "ring", lambda: woken.append("relay"))

    async def leave() -> None:
        async with shop.database.connection() as connection:
            backend = connection._get_connection_backend()
            await backend.transaction().start(is_root=True)
            await Author.query.create(name="lost")
            await backend.release()
            await backend.acquire()
            await Author.query.create(name="kept")

    await asyncio.create_task(leave())
    assert await Author.query.filter(name="lost").count() == 0
    assert await Author.query.filter(name="kept").count() == 1
    [(*_, data)] = await shop.events()
    assert data["instance"]["name"] == "kept"
    assert woken == ["relay"], "the later change is no part of it"


async def test_statements_of_other_event_loops_are_published(shop: Shop) -> None:
    """databasez gives each loop a database of its own, with the same classes of connections."""

    async def create() -> None:
        async with shop.database as database, database.transaction():
            await shop.models.Author.query.create(name="Bea")

    await asyncio.to_thread(asyncio.run, create())
    assert await shop.kinds() == [("Author", "post_save", "2")]


async def test_a_conflict_that_is_ignored_has_no_event(shop: Shop) -> None:
    kind = sqlite if shop.database.url.dialect == "sqlite" else postgresql
    for email in ("a", "b"):
        inserting = kind.insert(shop.models.Author.table).values(
            name="x", email=email, pin="", color="RED", notes=[]
        )
        await shop.database.execute(inserting.on_conflict_do_nothing(index_elements=["email"]))
    [(*_, data)] = await shop.events()
    assert data["instance"]["email"] == "b"


async def test_a_statement_may_say_that_it_has_no_events(shop: Shop) -> None:
    quiet = {"unpublished": True}
    table = shop.models.Author.table
    await shop.database.execute(sa.update(table).values(name="x").execution_options(**quiet))
    await shop.database.execute(sa.text("DELETE FROM authors").execution_options(**quiet))
    await shop.models.Log.query.create(text="not published")
    assert await shop.kinds() == []
    assert await shop.models.Author.query.count() == 0


async def test_a_change_whose_event_is_too_large_is_taken_back(database_url: str) -> None:
    events = EventSettings(max_bytes=2_000)
    async with open_shop(database_url, publish=["post_*"], events=events) as shop:
        Place, database = shop.models.Place, shop.database
        Author = shop.models.Author
        await Author.query.create(name="short", notes=["x"])
        large = ["x" * 3_000]
        for work in (
            lambda: Author.query.create(name="large", notes=large),
            lambda: Author.query.bulk_create([{"name": "large", "notes": large}]),
            lambda: Author.query.filter(name="short").update(notes=large),
        ):
            with pytest.raises(EventTooLarge):
                await work()
            async with database.transaction():
                await Place.query.create(shelf=str(id(work))[-9:], number=1, title="kept")
                with pytest.raises(EventTooLarge):
                    await work()
        assert [author.notes for author in await Author.query.all()] == [["x"]]
        assert [kind[0] for kind in await shop.kinds()] == ["Author", *["Place"] * 3]


async def test_a_set_has_a_limit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgy_bus.integrations.edgy.rows.LARGEST", 2)
    assert LARGEST == 10_000
    Author = shop.models.Author
    await Author.query.bulk_create([{"name": "b"}, {"name": "c"}])
    with pytest.raises(OperationError, match="in parts"):
        await Author.query.update(name="x")
    assert await Author.query.filter(id__lte=2).update(name="x") == 2


async def test_a_lock_orders_two_writers(shop: Shop) -> None:
    """Each writer waits for the other, and reports what the other has written."""
    Author = shop.models.Author

    async def write(name: str) -> None:
        await Author.query.filter(id=1).update(name=name)

    await asyncio.gather(*(write(str(number)) for number in range(1, 6)))
    changes = [data["changes"]["name"] for *_, data in await shop.events()]
    assert len(changes) == 5
    assert [each["old"] for each in changes] == ["Ann", *(each["new"] for each in changes[:-1])]


async def test_a_row_that_comes_to_match_is_left_alone(shop: Shop) -> None:
    """Its old values are not known, and it is not locked: the statement has begun before."""
    if shop.database.url.dialect == "sqlite":
        pytest.skip("the statement keeps other writers away from a SQLite file")
    Author = shop.models.Author

    @pre_update(Author)
    async def meanwhile(sender: Any, instance: Any, **kwargs: Any) -> None:
        # Another task has another connection.
        await asyncio.create_task(Author.query.create(name="Ann", email="late"))

    assert await Author.query.filter(name="Ann").update(name="Bea") == 1
    assert [(a.email, a.name) for a in await Author.query.order_by("id")] == [
        ("a", "Bea"),
        ("late", "Ann"),
    ]
    assert [kind[1:] for kind in await shop.kinds()] == [("post_save", "2"), ("post_update", "1")]


@pytest.mark.parametrize("level", [None, "READ COMMITTED", "SERIALIZABLE"])
async def test_a_connection_goes_on_after_a_transaction(shop: Shop, level: str | None) -> None:
    """With each level there is a transaction, and later statements commit by themselves."""
    if level == "READ COMMITTED" and shop.database.url.dialect == "sqlite":
        pytest.skip("SQLite has no such level")
    options = {} if level is None else {"isolation_level": level}
    models, database = shop.models, shop.database
    async with database.connection() as connection:
        transaction = connection.transaction(**options)
        await transaction.start()
        await models.Author.query.create(name="undone")
        await transaction.rollback()
        async with connection.transaction(**options):
            await models.Author.query.create(name="Bea")
        await models.Log.query.create(text="kept")
        await connection.execute(sa.update(models.Log.table).values(text="changed"))
        async with connection.transaction(**options):
            await models.Author.query.filter(name="Bea").update(name="Cleo")
    assert [author.name for author in await models.Author.query.order_by("id")] == ["Ann", "Cleo"]
    assert [log.text for log in await models.Log.query.all()] == ["changed"]
    assert len(await shop.kinds()) == 2


async def test_a_commit_wakes_the_relay(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    Author, woken = shop.models.Author, list[int]()

    async def committed() -> None:
        woken.append(len(await shop.events()))

    tasks = []
    monkeypatch.setattr(
        shop.source.writer, "ring", lambda: tasks.append(asyncio.create_task(committed()))
    )
    await Author.query.create(name="Bea")
    async with shop.database.transaction():
        await Author.query.bulk_create([{"name": "Cleo"}])
        await Author.query.filter(name="Ann").update(name="x")
    transaction = shop.database.transaction()
    await transaction.start()
    await Author.query.delete()
    await transaction.rollback()
    await shop.models.Log.query.create(text="not published")
    await asyncio.gather(*tasks)
    assert len(woken) == 2, "once for each transaction with events"
    assert woken[0] == 1, "after the commit"


async def test_a_cancelled_operation_leaves_neither_row_nor_event(shop: Shop) -> None:
    Author, blocking, entered = shop.models.Author, asyncio.Event(), asyncio.Event()

    @post_save(Author, local=True)
    async def wait(sender: Any, **kwargs: Any) -> None:
        entered.set()
        await blocking.wait()

    task = asyncio.create_task(Author.query.create(name="Bea"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Author.query.count() == 1
    assert await shop.kinds() == []


async def test_a_cancelled_operation_takes_its_connection_back() -> None:
    """databasez gives the connection away after the statement, in any case."""
    connection = SimpleNamespace(_query_lock=asyncio.Lock())
    lock = connection._query_lock
    await lock.acquire()

    async def operation() -> None:
        async with lent(connection):
            await lock.acquire()  # another task uses the connection

    task = asyncio.create_task(operation())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done(), "it waits for the other task"
    lock.release()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert lock.locked()
