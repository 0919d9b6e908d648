"""Synchronous sessions as a source of events."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

import edgy_bus as edgy
from edgy_bus.errors import OperationError
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
