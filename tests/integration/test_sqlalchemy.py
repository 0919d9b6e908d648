"""SQLAlchemy's sessions as a source of events, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError, EventTooLarge, ModelError, OperationError
from edgy_bus.integrations.sqlalchemy import publish
from edgy_bus.settings import EventSettings
from edgy_bus.signals import post_save, post_update, pre_delete, pre_save, pre_update
from tests.integration.alchemy import (
    Base,
    Bike,
    Book,
    Car,
    Color,
    Log,
    Note,
    Shop,
    User,
    Vehicle,
    async_sessionmaker,
    create_async_engine,
    open_shop,
)
from tests.support import eventually


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, publish=["post_*"]) as opened:
        yield opened
    for model in opened.source.described():
        for signal in model.signals:
            for receiver in signal.receivers:
                signal.disconnect(receiver.function, missing_ok=True)


async def test_a_flush_writes_an_event_for_each_row(shop: Shop) -> None:
    async with shop.sessions() as session:
        user = User(id=1, name="Ann", books=[Book(shelf="a", place=1, title="One")])
        session.add(user)
        await session.commit()
        user.name, user.color = "Bea", Color.BLUE
        await session.commit()
        await session.delete(user)
        await session.commit()
    events = await shop.events()
    assert [event[:3] for event in events] == [
        ("User", "post_save", "1"),
        ("Book", "post_save", '["a",1]'),
        ("User", "post_update", "1"),
        ("Book", "post_delete", '["a",1]'),
        ("User", "post_delete", "1"),
    ]
    saved, changed = events[0][3], events[2][3]
    assert saved["instance"]["created"], "the default of the database"
    assert saved["instance"]["color"] == "RED"
    assert "password" not in saved["instance"], "secret"
    assert changed["changes"] == {
        "name": {"old": "Ann", "new": "Bea"},
        "color": {"old": "RED", "new": "BLUE"},
        "version": {"old": 1, "new": 2},
    }
    assert changed["assigned"] == ["name", "color", "version"]


async def test_old_values_are_those_of_the_row_not_of_the_object(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add(Book(shelf="a", place=1, title="One"))
        await session.commit()
        book = await session.get(Book, ("a", 1))
        await session.commit()
        async with shop.sessions() as other, other.begin():
            changed = await other.get(Book, ("a", 1))
            assert changed is not None
            changed.title = "Two"
        assert book is not None
        assert book.title == "One", "in memory"
        book.title = "Three"
        await session.commit()
    changes = [data.get("changes") for *_, data in await shop.events()]
    assert changes[1:] == [
        {"title": {"old": "One", "new": "Two"}},
        {"title": {"old": "Two", "new": "Three"}},
    ]


async def test_savepoints_and_rollbacks_take_their_events_along(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add(Book(shelf="a", place=1, title="kept"))
        await session.flush()
        savepoint = await session.begin_nested()
        session.add(Book(shelf="a", place=2, title="undone"))
        await session.flush()
        await savepoint.rollback()
        await session.commit()
        session.add(Book(shelf="a", place=3, title="undone"))
        await session.flush()
        await session.rollback()
    assert await shop.kinds() == [("Book", "post_save", '["a",1]')]


async def test_an_orphan_that_only_the_flush_finds_has_an_event(shop: Shop) -> None:
    asked = []

    @pre_delete(Note)
    async def ask(sender: Any, instance: Note, **kwargs: Any) -> None:
        asked.append(instance.text)

    async with shop.sessions() as session:
        user = User(id=1, name="Ann", notes=[Note(id=1, text="one"), Note(id=2, text="two")])
        session.add(user)
        await session.commit()
        await shop.forget()
        user.notes.pop()
        await session.commit()
    assert await shop.kinds() == [("Note", "post_delete", "2")]
    assert asked == ["two"]


async def test_an_object_without_changes_has_no_event(shop: Shop) -> None:
    async with shop.sessions() as session:
        user = User(id=1, name="Ann")
        session.add(user)
        await session.commit()
        await shop.forget()
        user.name = "Ann"
        await session.refresh(user, ["books"])
        user.books.append(Book(shelf="a", place=1, title="One"))
        await session.commit()
    assert await shop.kinds() == [("Book", "post_save", '["a",1]')]


# Receivers before the SQL


async def test_a_receiver_before_the_sql_may_change_and_refuse(shop: Shop) -> None:
    order = []

    @pre_save(User)
    async def first(sender: Any, instance: User, values: Any, **kwargs: Any) -> None:
        order.append("first")
        instance.email = instance.name.lower()

    @pre_save(User)
    async def second(sender: Any, instance: User, **kwargs: Any) -> None:
        order.append(instance.email)
        await asyncio.sleep(0)
        if instance.name == "Spam":
            raise PermissionError("no spam")

    async with shop.sessions() as session:
        session.add(User(id=1, name="Ann"))
        await session.commit()
        spam = User(id=2, name="Spam")
        session.add(spam)
        with pytest.raises(PermissionError):
            await session.flush()
        assert spam.email is None, "the instance is as before"
        assert spam in session.new, "and may be mended"
        spam.name = "Bea"
        await session.commit()
    assert order == ["first", "ann", "first", "spam", "first", "bea"]
    assert [data["instance"]["email"] for *_, data in await shop.events()] == ["ann", "bea"]


async def test_a_refused_update_writes_nothing(shop: Shop) -> None:
    @pre_update(User)
    async def refuse(sender: Any, instance: User, values: Any, **kwargs: Any) -> None:
        assert dict(values) == {"name": "Bea"}
        with pytest.raises(TypeError):
            values["name"] = "other"
        raise PermissionError

    async with shop.sessions() as session:
        user = User(id=1, name="Ann")
        session.add(user)
        await session.commit()
        user.name = "Bea"
        with pytest.raises(PermissionError):
            await session.commit()
        await session.rollback()
        assert await session.scalar(sa.select(User.name)) == "Ann"
    assert await shop.kinds() == [("User", "post_save", "1")]


async def test_a_skipped_operation_is_refused(shop: Shop) -> None:
    @pre_save(User)
    async def skip(sender: Any, instance: User, **kwargs: Any) -> None:
        raise edgy.SkipOperation

    async with shop.sessions() as session:
        session.add(User(id=1, name="Ann"))
        with pytest.raises(OperationError, match="expunge"):
            await session.flush()


async def test_a_receiver_of_this_process_is_called_after_the_write(shop: Shop) -> None:
    calls: list[Any] = []

    @post_save(User, local=True)
    async def now(sender: Any, instance: User, changes: Any, event: Any, **kwargs: Any) -> None:
        calls.append(("now", sa.inspect(instance).detached, instance.name, changes, event))

    @post_save(User, local=True, on_commit=True)
    async def later(sender: Any, instance: User, **kwargs: Any) -> None:
        calls.append(("later", instance.id))

    async with shop.sessions() as session:
        session.add(User(id=1, name="Ann"))
        await session.flush()
        assert calls == [("now", True, "Ann", None, None)]
        savepoint = await session.begin_nested()
        session.add(User(id=2, name="Bea"))
        await session.flush()
        await savepoint.rollback()
        await session.commit()
    assert calls[2:] == [("later", 1)]


# Workers


async def test_workers_get_detached_and_complete_instances(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        calls: list[Any] = []

        @post_save(User)
        async def saved(sender: Any, instance: User, values: Any, **kwargs: Any) -> None:
            calls.append((sender, instance, values, kwargs))

        @post_save([Vehicle])
        async def vehicles(sender: Any, instance: Vehicle, **kwargs: Any) -> None:
            calls.append((sender, instance))

        @shop.bus.receiver("shop.Car", "post_save")
        async def by_name(sender: Any, instance: Any, **kwargs: Any) -> None:
            calls.append((sender, instance.doors))

        async with shop.bus.worker():
            async with shop.sessions.begin() as session:
                session.add(User(id=1, name="Ann", tags=["a"]))
            await eventually(lambda: len(calls) == 1)
            async with shop.sessions.begin() as session:
                session.add(Car(id=1, doors=2))
            await eventually(lambda: len(calls) == 3)
        for receiver, model in ((saved, User), (vehicles, Vehicle)):
            shop.source.model(model).signals.post_save.disconnect(receiver)
    [(_, user, values, kwargs)] = [call for call in calls if call[0] is User]
    state = sa.inspect(user)
    assert state.detached
    assert state.identity == (1,)
    assert (user.name, user.color, user.balance, user.tags) == ("Ann", Color.RED, 0, ["a"])
    assert values == {name: getattr(user, name) for name in values}
    assert set(state.unloaded) == {"password", "books", "notes"}
    assert kwargs["is_update"] is False
    assert ("shop.Car", 2) in calls
    [(_, car)] = [call for call in calls if call[0] is Car]
    assert (type(car), car.wheels, car.doors) == (Car, 4, 2), "receivers of a parent class"


# Sets


async def test_sets_are_published_row_by_row(shop: Shop) -> None:
    asked: list[Any] = []

    @pre_update(Bike)
    async def ask(sender: Any, instance: Any, model_instance: Any, **kwargs: Any) -> None:
        asked.append((sender, model_instance))

    async with shop.sessions() as session:
        session.add_all([Vehicle(id=1), Car(id=2, doors=2), Bike(id=3), Bike(id=4)])
        await session.commit()
        await shop.forget()
        result = await session.execute(
            sa.update(Vehicle).where(Vehicle.id < 4).values(wheels=Vehicle.wheels + 1)
        )
        assert result.rowcount == 3
        await session.commit()
        rows = await session.execute(sa.delete(Book).returning(Book.title))
        assert rows.all() == []
        await session.commit()
    events = await shop.events()
    assert sorted(event[:3] for event in events) == [
        ("Bike", "post_update", "3"),
        ("Car", "post_update", "2"),
        ("Vehicle", "post_update", "1"),
    ]
    assert all(data["changes"] == {"wheels": {"old": 4, "new": 5}} for *_, data in events)
    assert asked == [(Bike, None)], "receivers of derived classes have their say"


async def test_a_set_returns_what_the_caller_asked_for(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add_all([Book(shelf="a", place=place, title="x") for place in range(3)])
        await session.commit()
        await shop.forget()
        deleting = sa.delete(Book).where(Book.place > 0).returning(Book.place)
        assert sorted((await session.scalars(deleting)).all()) == [1, 2]
        await session.commit()
    assert sorted(await shop.kinds()) == [
        ("Book", "post_delete", '["a",1]'),
        ("Book", "post_delete", '["a",2]'),
    ]


async def test_a_set_whose_event_is_too_large_is_undone(database_url: str) -> None:
    events = EventSettings(max_bytes=2_000)
    async with open_shop(database_url, publish=["post_*"], events=events) as shop:
        async with shop.sessions() as session:
            session.add(Book(shelf="a", place=1, title="short"))
            await session.commit()
            with pytest.raises(EventTooLarge):
                await session.execute(sa.update(Book).values(title="x" * 3_000))
            await session.commit()
            assert await session.scalar(sa.select(Book.title)) == "short"
        assert len(await shop.kinds()) == 1


# What no event would report


REFUSED = {
    "a table": lambda s: s.execute(sa.update(Book.__table__).values(title="x")),
    "text": lambda s: s.execute(sa.text("  delete  from books")),
    "quoted text": lambda s: s.execute(sa.text('UPDATE "books" SET title = title')),
    "a common table expression": lambda s: s.execute(
        sa.select(sa.literal(1)).add_cte(sa.delete(Book.__table__).returning(Book.place).cte())
    ),
    "a key": lambda s: s.execute(sa.update(Book).values(place=9)),
    "a part of joined inheritance": lambda s: s.execute(sa.delete(Car)),
    "the connection": lambda s: s.run_sync(
        lambda sync: sync.connection().execute(sa.delete(Book.__table__))
    ),
    "driver SQL": lambda s: s.run_sync(
        lambda sync: sync.connection().exec_driver_sql("DELETE FROM books")
    ),
}


@pytest.mark.parametrize("way", REFUSED)
async def test_changes_without_events_are_refused(shop: Shop, way: str) -> None:
    async with shop.sessions() as session:
        session.add(Book(shelf="a", place=1, title="One"))
        await session.commit()
        with pytest.raises(OperationError):
            await REFUSED[way](session)
        await session.rollback()
    async with shop.sessions() as session:
        rows = (await session.execute(sa.select(Book.place, Book.title))).all()
        assert rows == [(1, "One")]
    assert await shop.kinds() == [("Book", "post_save", '["a",1]')]


async def test_a_statement_may_say_that_it_has_no_events(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add(Book(shelf="a", place=1, title="One"))
        await session.flush()
        quiet = {"unpublished": True}
        await session.execute(sa.update(Book).values(title="Two"), execution_options=quiet)
        await session.execute(sa.text("UPDATE books SET title = 'x'"), execution_options=quiet)
        session.add(Log(text="not published"))
        await session.execute(sa.insert(Log), [{"text": "neither"}])
        await session.commit()
    assert await shop.kinds() == [("Book", "post_save", '["a",1]')]


async def test_keys_and_classes_of_rows_stay(shop: Shop) -> None:
    async with shop.sessions() as session:
        book, bike = Book(shelf="a", place=1, title="One"), Bike(id=1)
        session.add_all([book, bike])
        await session.commit()
        book.place = 2
        with pytest.raises(OperationError, match="key of a row cannot be changed"):
            await session.commit()
        await session.rollback()
        await session.refresh(bike)
        bike.kind = "vehicle"
        with pytest.raises(OperationError, match="which class"):
            await session.commit()


# What cannot be published


def test_mistakes_of_the_declaration_are_refused(tmp_path: Any) -> None:
    class Own(DeclarativeBase):
        pass

    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'x.sqlite'}")
    sessions = async_sessionmaker(engine)
    bus = edgy.Bus("memory://")
    source = publish(sessions, Own, bus)
    with pytest.raises(ConfigurationError, match="published to this bus already"):
        publish(sessions, Own, bus)
    with pytest.raises(ModelError, match="PickleType"):

        class Pickled(Own):
            __tablename__ = "pickled"
            id: Mapped[int] = mapped_column(primary_key=True)
            value: Mapped[Any] = mapped_column(sa.PickleType)

    with pytest.raises(ModelError, match="cannot be secret"):

        class Hidden(Own):
            __tablename__ = "hidden"
            id: Mapped[int] = mapped_column(primary_key=True, info={"secret": True})

    with pytest.raises(edgy.SignalError, match="publish"):
        post_update(type("Unknown", (), {"__mapper__": None}))
    assert source.described() == []


def test_mistakes_of_the_sessions_are_refused() -> None:
    bus = edgy.Bus("memory://")
    memory = create_async_engine("sqlite+aiosqlite://")
    for sessions, text in (
        (async_sessionmaker(memory), "memory"),
        (async_sessionmaker(), "database"),
        (sessionmaker(twophase=True), "twophase"),
        (sessionmaker(binds={User: sa.create_engine("sqlite:///x")}), "binds"),
        ("sessions", "sessionmaker"),
    ):
        mistaken: Any = sessions
        with pytest.raises(ConfigurationError, match=text):
            publish(mistaken, Base, bus)
    with pytest.raises(ConfigurationError, match="declarative base"):
        publish(sessionmaker(sa.create_engine("sqlite:///x")), User.__table__, bus)


async def test_a_relationship_that_changes_rows_past_objects_is_refused(tmp_path: Any) -> None:
    class Own(DeclarativeBase):
        pass

    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'x.sqlite'}")
    publish(async_sessionmaker(engine), Own, edgy.Bus("memory://"))

    class Node(Own):
        __tablename__ = "nodes"
        id: Mapped[int] = mapped_column(primary_key=True)
        next_id: Mapped[int | None] = mapped_column(sa.ForeignKey("nodes.id"))
        next: Mapped["Node | None"] = relationship(remote_side=[id], post_update=True)

    with pytest.raises(ModelError, match="post_update"):
        Node()


async def test_a_set_of_a_derived_class_changes_its_own_table(shop: Shop) -> None:
    async with shop.sessions() as session:
        session.add_all([Car(id=1, doors=2), Car(id=2, doors=4), Bike(id=3, bell="ring")])
        await session.commit()
        await shop.forget()
        await session.execute(sa.update(Car).where(Car.doors == 2).values(doors=3))
        await session.execute(sa.update(Bike).values(bell="ding"))
        await session.execute(sa.delete(Note))
        await session.commit()
    events = await shop.events()
    assert [event[:3] for event in events] == [
        ("Car", "post_update", "1"),
        ("Bike", "post_update", "3"),
    ]
    assert events[0][3]["changes"] == {"doors": {"old": 2, "new": 3}}
    assert events[0][3]["instance"]["wheels"] == 4, "the whole row"


async def test_a_handler_of_the_application_cannot_change_rows_in_silence(shop: Shop) -> None:
    def handler(_: Any, connection: sa.Connection, __: Any) -> None:
        connection.execute(sa.update(Book.__table__).values(title="silent"))

    sa.event.listen(User, "after_insert", handler)
    try:
        async with shop.sessions() as session:
            session.add(User(id=1, name="Ann"))
            with pytest.raises(OperationError, match="books"):
                await session.flush()
    finally:
        sa.event.remove(User, "after_insert", handler)


async def test_a_lock_orders_two_sessions(shop: Shop) -> None:
    """The second session waits for the first, and reports what the first has written."""
    async with shop.sessions() as session:
        session.add(Book(shelf="a", place=1, title="0"))
        await session.commit()

    async def write(title: str) -> None:
        async with shop.sessions() as session:
            book = await session.get_one(Book, ("a", 1))
            await session.commit()
            book.title = title
            await session.flush()
            await asyncio.sleep(0.05)
            await session.commit()

    await asyncio.gather(*(write(str(number)) for number in range(1, 5)))
    changes = [data["changes"]["title"] for *_, data in (await shop.events())[1:]]
    assert [each["old"] for each in changes] == ["0", *(each["new"] for each in changes[:-1])]


async def test_a_receiver_cannot_commit_the_session_of_its_inbox(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        attempts: list[str] = []

        @post_save(Book, inbox=shop.source.inbox, retry=edgy.Retry(attempts=3, delay=0.01))
        async def copy(sender: Any, instance: Book, **kwargs: Any) -> None:
            session = shop.source.inbox.session
            session.add(User(id=instance.place, name=instance.title))
            async with session.begin_nested():
                await session.flush()
            try:
                if len(attempts) < 2:
                    await session.commit()
            except OperationError as error:
                attempts.append(str(error))
                raise
            attempts.append("")

        async with shop.bus.worker():
            async with shop.sessions.begin() as session:
                session.add(Book(shelf="a", place=1, title="One"))
            await eventually(lambda: len(attempts) == 3)

            async def is_copied() -> bool:
                async with shop.sessions() as session:
                    return await session.scalar(sa.select(User.name)) == "One"

            await eventually(is_copied)
        shop.source.model(Book).signals.post_save.disconnect(copy)
        assert "flush()" in attempts[0]
        assert attempts[0] == attempts[1]


async def test_a_receiver_with_an_inbox_takes_effect_once(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        attempts: list[int] = []

        @post_save(Book, inbox=shop.source.inbox, retry=edgy.Retry(delay=0.01))
        async def copy(sender: Any, instance: Book, **kwargs: Any) -> None:
            attempts.append(instance.place)
            shop.source.inbox.session.add(User(id=instance.place, name=instance.title))
            await shop.source.inbox.session.flush()
            if len(attempts) == 1:
                raise RuntimeError("after the write")

        with pytest.raises(ConfigurationError, match="no receiver"):
            _ = shop.source.inbox.session
        async with shop.bus.worker():
            async with shop.sessions.begin() as session:
                session.add(Book(shelf="a", place=1, title="One"))

            async def is_copied() -> bool:
                async with shop.sessions() as session:
                    return await session.scalar(sa.select(User.name)) == "One"

            await eventually(is_copied)
        shop.source.model(Book).signals.post_save.disconnect(copy)
        assert attempts == [1, 1]
        assert await shop.kinds() == [
            ("Book", "post_save", '["a",1]'),
            ("User", "post_save", "1"),
        ]


def test_a_program_that_makes_no_object_reads_instances(sqlite_url: str) -> None:
    # A worker: nothing else configures its mappers.
    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        cards: Mapped[list["Card"]] = relationship(back_populates="person")

    class Card(Base):
        __tablename__ = "cards"
        id: Mapped[int] = mapped_column(primary_key=True)
        person_id: Mapped[int] = mapped_column(sa.ForeignKey("people.id"))
        person: Mapped[Person] = relationship(back_populates="cards")

    bus = edgy.Bus("memory://", service="shop")
    source = publish(sessionmaker(sa.create_engine(sqlite_url)), Base, bus)
    assert not sa.inspect(Person).configured
    person: Any = source.model(Person).read({"id": 1, "name": "Ada"})
    assert (person.id, person.name) == (1, "Ada")
