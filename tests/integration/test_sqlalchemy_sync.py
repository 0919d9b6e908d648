"""Synchronous sessions as a source of events."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    sessionmaker,
)

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError, ModelError, OperationError
from edgy_bus.integrations.sqlalchemy import SessionSource, publish
from edgy_bus.outbox.table import metadata as outbox_tables
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import RelaySettings, WorkerSettings
from edgy_bus.signals import post_save, pre_save
from tests.support import eventually

who: ContextVar[str] = ContextVar("who", default="nobody")


class Shop:
    """A class of its own for each test, in a file of its own."""

    def __init__(self, url: str) -> None:
        class Base(DeclarativeBase):
            pass

        class User(Base):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]

        self.base, self.user = Base, User
        self.engine = sa.create_engine(url)
        self.sessions = sessionmaker(self.engine)
        self.bus = edgy.Bus(
            "memory://",
            service="shop",
            relaying=RelaySettings(poll=0.05),
            working=WorkerSettings(block=0.05),
        )
        self.source: SessionSource = publish(self.sessions, Base, self.bus)
        Base.metadata.create_all(self.engine)
        outbox_tables.create_all(self.engine)

    def signals(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.select(outbox.c.signal).order_by(outbox.c.id)))


@pytest.fixture
def shop(sqlite_url: str) -> Iterator[Shop]:
    opened = Shop(sqlite_url)
    yield opened
    opened.engine.dispose()


def test_receivers_run_in_order_on_one_thread_and_may_refuse(shop: Shop) -> None:
    calls: list[Any] = []

    @pre_save(shop.user)
    async def first(sender: Any, instance: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        calls.append(("first", who.get(), threading.current_thread(), asyncio.get_running_loop()))
        instance.name = instance.name.lower()

    @pre_save(shop.user)
    async def second(sender: Any, instance: Any, **kwargs: Any) -> None:
        calls.append(("second", who.get(), threading.current_thread(), asyncio.get_running_loop()))
        if instance.name == "spam":
            raise PermissionError

    who.set("ann")
    with shop.sessions() as session:
        session.add(shop.user(name="Ann"))
        session.commit()
        session.add(shop.user(name="Spam"))
        with pytest.raises(PermissionError):
            session.commit()
    with shop.sessions() as session:
        assert session.scalars(sa.select(shop.user.name)).all() == ["ann"]
    assert shop.signals() == ["post_save"]
    assert [call[:2] for call in calls] == [("first", "ann"), ("second", "ann")] * 2
    assert len({call[2:] for call in calls}) == 1, "one thread, one loop"
    assert calls[0][2] is not threading.current_thread()


async def test_a_call_from_a_running_loop_is_an_error(shop: Shop) -> None:
    @pre_save(shop.user)
    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        raise AssertionError("not called")

    with shop.sessions() as session:
        session.add(shop.user(name="Ann"))
        with pytest.raises(OperationError, match="AsyncSession"):
            session.flush()
        session.rollback()
    await asyncio.to_thread(_refused_in_a_thread, shop)


def _refused_in_a_thread(shop: Shop) -> None:
    with shop.sessions() as session:
        session.add(shop.user(name="Ann"))
        with pytest.raises(AssertionError, match="not called"):
            session.flush()


async def test_a_commit_in_a_thread_wakes_the_relay_of_the_process(shop: Shop) -> None:
    names: list[str] = []

    @post_save(shop.user)
    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        names.append(instance.name)

    def work() -> None:
        with shop.sessions.begin() as session:
            session.add(shop.user(name="Ann"))

    async with shop.bus, shop.bus.worker():
        await asyncio.to_thread(work)
        await eventually(lambda: names == ["Ann"])


def test_other_sessions_publish_nothing_until_they_are_added(shop: Shop) -> None:
    class Other(Session):
        pass

    with Other(shop.engine) as session:
        session.add(shop.user(name="quiet"))
        session.commit()
    assert shop.signals() == []
    shop.source.add(Other)
    with Other(shop.engine) as session:
        session.add(shop.user(name="Ann"))
        session.query(shop.user).filter_by(name="quiet").update({"name": "loud"})
        session.commit()
    assert shop.signals() == ["post_save", "post_update"]


def test_a_session_without_a_receiver_reads_nothing_more(sqlite_url: str) -> None:
    """In local mode, without receivers, a flush has the statements that it has without a bus."""
    statements: list[str] = []

    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)

    engine = sa.create_engine(sqlite_url)
    sessions = sessionmaker(engine)
    publish(sessions, Base, edgy.Bus())
    Base.metadata.create_all(engine)

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement.partition(" ")[0])

    with sessions() as session:
        session.add(User(id=1))
        session.commit()
        session.delete(session.get_one(User, 1))
        session.commit()
    engine.dispose()
    assert statements == ["INSERT", "SELECT", "DELETE"]


def test_a_signal_that_the_application_sends_is_refused(shop: Shop) -> None:
    signals = shop.source.model(shop.user).signals
    signals.on_verify = edgy.Signal()
    for signal in (signals.on_verify, signals.post_save):
        with pytest.raises(edgy.SignalError, match="cannot be sent"):
            asyncio.run(signal.send(shop.user, None))


def test_a_receiver_by_name_gets_its_schema_in_local_mode(sqlite_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    class User(Base):
        __tablename__ = "users"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]

    class Named(pydantic.BaseModel):
        name: str

    engine = sa.create_engine(sqlite_url)
    sessions, bus = sessionmaker(engine), edgy.Bus(service="shop")
    publish(sessions, Base, bus)
    Base.metadata.create_all(engine)
    calls: list[Any] = []

    @bus.receiver("shop.User", "post_save", schema=Named)
    async def receiver(sender: Any, instance: Named, **kwargs: Any) -> None:
        calls.append((sender, instance))

    with sessions.begin() as session:
        session.add(User(id=1, name="Ann"))
    engine.dispose()
    assert calls == [("shop.User", Named(name="Ann"))]


def test_a_secondary_that_is_published_is_refused_in_any_order(sqlite_url: str) -> None:
    class Base(DeclarativeBase):
        pass

    links = sa.Table(
        "links",
        Base.metadata,
        sa.Column("left", sa.ForeignKey("nodes.id"), primary_key=True),
        sa.Column("right", sa.ForeignKey("nodes.id"), primary_key=True),
    )

    class Node(Base):
        __tablename__ = "nodes"
        id: Mapped[int] = mapped_column(primary_key=True)
        others: Mapped[list["Node"]] = relationship(
            secondary=links,
            primaryjoin=lambda: Node.id == links.c.left,
            secondaryjoin=lambda: Node.id == links.c.right,
        )

    publish(sessionmaker(sa.create_engine(sqlite_url)), Base, edgy.Bus("memory://"))
    Node()
    with pytest.raises(ModelError, match="viewonly"):

        class Link(Base):
            __table__ = links


def test_sessions_that_are_published_already_are_refused(shop: Shop) -> None:
    class Mine(Session):
        pass

    class Derived(Mine):
        pass

    shop.source.add(Mine)
    for sessions in (shop.sessions, Mine, Derived, sessionmaker(class_=Mine), Session):
        with pytest.raises(ConfigurationError, match="published already"):
            shop.source.add(sessions)
    with pytest.raises(ConfigurationError, match="published already"):
        publish(shop.sessions, shop.base, edgy.Bus("memory://"))
    with Derived(shop.engine) as session:
        session.add(shop.user(name="Ann"))
        session.commit()
    assert shop.signals() == ["post_save"]


@pytest.mark.parametrize("place", ["engine", "options", "session"])
def test_connections_that_commit_each_statement_are_refused(shop: Shop, place: str) -> None:
    each = {"isolation_level": "AUTOCOMMIT"}
    engine = shop.engine
    if place == "engine":
        engine = sa.create_engine(engine.url, isolation_level="AUTOCOMMIT")
    elif place == "options":
        engine = engine.execution_options(**each)
    options = each if place == "session" else None
    with shop.sessions(bind=engine) as session, pytest.raises(ConfigurationError, match="AUTO"):
        session.connection(execution_options=options)
    engine.dispose()


def test_an_error_after_the_commit_leaves_the_session_usable(shop: Shop) -> None:
    calls: list[str] = []

    @post_save(shop.user, local=True, on_commit=True)
    async def fail(sender: Any, instance: Any, **kwargs: Any) -> None:
        calls.append(instance.name)
        raise RuntimeError(instance.name)

    with shop.sessions() as session:
        for name in ("Ann", "Bea"):
            session.add_all([shop.user(name=name), shop.user(name=name.lower())])
            with pytest.raises(RuntimeError, match=name):
                session.commit()
        assert len(session.scalars(sa.select(shop.user)).all()) == 4
    assert calls == ["Ann", "ann", "Bea", "bea"]
    assert shop.signals() == ["post_save"] * 4


def test_post_update_of_a_class_that_is_left_out_is_refused(shop: Shop) -> None:
    class Parent(shop.base):  # type: ignore[name-defined, misc]
        __tablename__ = "parents"
        id: Mapped[int] = mapped_column(primary_key=True)
        children: Mapped[list["Child"]] = relationship(post_update=True)
        __table_args__ = ({"info": {"publish": False}},)

    class Child(shop.base):  # type: ignore[name-defined, misc]
        __tablename__ = "children"
        id: Mapped[int] = mapped_column(primary_key=True)
        parent_id: Mapped[int | None] = mapped_column(sa.ForeignKey("parents.id"))

    with pytest.raises(ModelError, match="post_update"):
        Parent()


def test_a_row_that_cannot_be_read_by_its_key_is_not_lost(shop: Shop) -> None:
    class Number(sa.TypeDecorator[Any]):
        """Its values equal nothing but themselves."""

        impl = sa.Integer
        cache_ok = True

        def process_bind_param(self, value: Any, _: Any) -> Any:
            return value[0] if isinstance(value, tuple) else value

        def process_result_value(self, value: Any, _: Any) -> Any:
            return (value, object())

    class Odd(shop.base):  # type: ignore[name-defined, misc]
        __tablename__ = "odd"
        id: Mapped[Any] = mapped_column(Number, primary_key=True)

    shop.base.metadata.create_all(shop.engine)
    with shop.engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO odd VALUES (1)"))
    with shop.sessions() as session:
        session.delete(session.scalars(sa.select(Odd)).one())
        with pytest.raises(OperationError, match="cannot be read by its key"):
            session.commit()


def test_a_connection_of_the_application_is_free_after_the_session(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        session = shop.sessions(bind=connection)
        session.add(shop.user(name="Ann"))
        session.commit()
        session.close()
        connection.execute(sa.text("DELETE FROM users"))
        connection.commit()
    assert shop.signals() == ["post_save"]
