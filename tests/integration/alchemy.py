"""The mapped classes of the tests of SQLAlchemy, and the databases of their sessions."""

import datetime as dt
import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.integrations.sqlalchemy import SessionSource, publish
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import RelaySettings, WorkerSettings

pytest.importorskip("greenlet", reason="SQLAlchemy's asynchronous sessions need greenlet")

from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column("user_name", sa.String(40))
    email: Mapped[str | None] = mapped_column(sa.String(40), unique=True)
    color: Mapped[Color] = mapped_column(default=Color.RED)
    balance: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2), default=Decimal(0))
    tags: Mapped[list[str]] = mapped_column(sa.JSON, default=list)
    password: Mapped[str] = mapped_column(sa.String(40), default="", info={"secret": True})
    created: Mapped[dt.datetime] = mapped_column(server_default=sa.func.now())
    version: Mapped[int] = mapped_column()
    books: Mapped[list["Book"]] = relationship(cascade="all, delete-orphan", back_populates="owner")
    notes: Mapped[list["Note"]] = relationship(cascade="all, delete-orphan")
    __mapper_args__ = {"version_id_col": version}


class Book(Base):
    __tablename__ = "books"
    shelf: Mapped[str] = mapped_column(sa.String(10), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id"))
    owner: Mapped[User | None] = relationship(back_populates="books")


class Note(Base):
    """Its user does not stand in the object: only a flush knows that a note is an orphan."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    text: Mapped[str]


class Vehicle(Base):
    __tablename__ = "vehicles"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(10))
    wheels: Mapped[int] = mapped_column(default=4)
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "vehicle"}


class Car(Vehicle):
    """Joined inheritance."""

    __tablename__ = "cars"
    id: Mapped[int] = mapped_column(sa.ForeignKey("vehicles.id"), primary_key=True)
    doors: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "car"}


class Bike(Vehicle):
    """Single table inheritance."""

    bell: Mapped[str | None]
    __mapper_args__ = {"polymorphic_identity": "bike"}


class Log(Base):
    """Not published."""

    __tablename__ = "logs"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    __table_args__ = {"info": {"publish": False}}


DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


def engine_of(url: str) -> AsyncEngine:
    """An engine for a URL of a test, whose schema is the test's own on PostgreSQL."""
    kind, _, address = url.partition("://")
    address, _, query = address.partition("?")
    options: dict[str, Any] = {}
    if query:
        options["connect_args"] = {"server_settings": {"search_path": query.partition("=")[2]}}
    return create_async_engine(f"{DRIVERS[kind]}://{address}", **options)


@dataclass
class Shop:
    """A bus, the sessions that it publishes, and what receivers were called with."""

    bus: edgy.Bus
    source: SessionSource
    sessions: async_sessionmaker[AsyncSession]
    engine: AsyncEngine
    calls: list[tuple[Any, ...]] = field(default_factory=list)

    async def events(self) -> list[tuple[str, str, str | None, dict[str, Any]]]:
        """The events of the outbox: model, signal, subject and data, in order."""
        statement = sa.select(outbox).order_by(outbox.c.id)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(statement)).all()
        return [(row.model.split(".")[1], row.signal, row.subject, loads(row.data)) for row in rows]

    async def kinds(self) -> list[tuple[str, str, str | None]]:
        return [event[:3] for event in await self.events()]

    async def forget(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(sa.delete(outbox))


@asynccontextmanager
async def open_shop(url: str, **options: Any) -> AsyncIterator[Shop]:
    engine = engine_of(url)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    bus = edgy.Bus(
        options.pop("broker", "memory://"),
        service="shop",
        relay=options.pop("relay", False),
        relaying=RelaySettings(poll=0.05),
        working=WorkerSettings(block=0.05),
        **options,
    )
    source = publish(sessions, Base, bus, database=url)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with bus:
            yield Shop(bus, source, sessions, engine)
    finally:
        await engine.dispose()
