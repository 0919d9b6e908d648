"""The flush of a session of SQLAlchemy, beside a flush whose program writes the outbox by hand.

On PostgreSQL and on SQLite: a hundred rows of seven columns, with the commit. Of the program by
hand, the data of an event is what the objects have: it reads no old values.
"""

import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import edgy_bus as edgy
from benchmarks.suite.contender import Contender, Measured, Scale
from benchmarks.suite.place import Place
from edgy_bus.codec import dumps
from edgy_bus.events import new_event_id, now, partition_name
from edgy_bus.integrations.sqlalchemy import publish
from edgy_bus.outbox.table import metadata as outbox_tables
from edgy_bus.outbox.table import outbox, pending

Finish = Callable[[AsyncSession, str, Sequence[Any]], Awaitable[None]]

ROWS = 100
SIGNALS = ("save", "update", "delete")


class _Users:
    """A mapped class with a base of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        class Base(DeclarativeBase):
            pass

        class User(Base):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str]
            email: Mapped[str]
            age: Mapped[int]
            is_verified: Mapped[bool]
            created: Mapped[dt.datetime]
            about: Mapped[str]

        self.base, self.user, self.engine = Base, User, engine
        self.sessions = async_sessionmaker(engine, expire_on_commit=False)

    def make(self, number: int) -> Any:
        return self.user(
            id=number,
            name=f"name {number}",
            email=f"user{number}@example.org",
            age=number,
            is_verified=True,
            created=dt.datetime(2026, 1, 1),
            about="x" * 100,
        )

    async def prepare(self, session: AsyncSession, signal: str) -> list[Any]:
        """Return the objects of a flush, changed and not flushed."""
        if signal == "save":
            targets = [self.make(number) for number in range(ROWS)]
            session.add_all(targets)
            return targets
        targets = list(await session.scalars(sa.select(self.user)))
        for each in targets:
            if signal == "update":
                each.age, each.about = each.age + 1, "y" * 100
            else:
                await session.delete(each)
        return targets


class Flush(Contender):
    """Time flushes of rows that are inserted, then updated, then deleted: the time for a row."""

    def __init__(self, key: str, label: str, users: _Users, signal: str, finish: Finish) -> None:
        self.key, self.label = key, label
        self._users, self._signal, self._finish = users, signal, finish

    async def round(self) -> Measured:
        measured = {signal: await self._flush(signal) for signal in SIGNALS}
        return {"us": measured[self._signal] / ROWS * 1e6}

    async def _flush(self, signal: str) -> float:
        async with self._users.sessions() as session:
            targets = await self._users.prepare(session, signal)
            start = time.perf_counter()
            await self._finish(session, signal, targets)
            return time.perf_counter() - start


async def _commit(session: AsyncSession, _: str, __: Sequence[Any]) -> None:
    await session.commit()


async def _by_hand(session: AsyncSession, signal: str, targets: Sequence[Any]) -> None:
    await session.flush()
    events = [_event(each, f"post_{signal}") for each in targets]
    ids = await session.scalars(sa.insert(outbox).returning(outbox.c.id), events)
    await session.execute(sa.insert(pending), [{"id": number} for number in ids])
    await session.commit()


def _event(target: Any, signal: str) -> dict[str, Any]:
    names = ("id", "name", "email", "age", "is_verified", "created", "about")
    event_id, subject = new_event_id(), str(target.id)
    instance = {name: getattr(target, name) for name in names}
    return {
        "model": "bench.User",
        "label": partition_name(subject, event_id, 32),
        "event_id": event_id,
        "source": "bench",
        "signal": signal,
        "subject": subject,
        "time": now().isoformat(),
        "data": dumps({"instance": instance, "is_update": signal == "post_update"}).decode(),
    }


@asynccontextmanager
async def contenders(place: Place, _: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        yield [
            *await _on_postgresql(stack, place),
            *await _flushes(stack, "sqlite", f"sqlite:///{place.folder / 'sessions.sqlite'}"),
        ]


async def _on_postgresql(stack: AsyncExitStack, place: Place) -> list[Contender]:
    url = place.schema("sessions")
    stack.callback(place.drop, url)
    return await _flushes(stack, "postgresql", url)


async def _flushes(stack: AsyncExitStack, database: str, url: str) -> list[Contender]:
    bus = edgy.Bus("memory://", service="bench", relay=False, publish=["post_*"])
    plain, by_hand, ours = [_Users(await _engine(stack, url)) for _ in range(3)]
    publish(ours.sessions, ours.base, bus, database=url)
    async with ours.engine.begin() as connection:
        await connection.run_sync(ours.base.metadata.create_all)
        await connection.run_sync(outbox_tables.create_all)
    await stack.enter_async_context(bus)
    ways: dict[str, tuple[str, _Users, Finish]] = {
        "plain": ("no events", plain, _commit),
        "by-hand": ("outbox rows by hand", by_hand, _by_hand),
        "ours": ("published", ours, _commit),
    }
    return [
        Flush(f"sessions.{signal}-{way}-{database}", f"{signal}, {database}: {label}", *rest)
        for signal in SIGNALS
        for way, (label, users, finish) in ways.items()
        for rest in [(users, signal, finish)]
    ]


async def _engine(stack: AsyncExitStack, url: str) -> AsyncEngine:
    address = sa.make_url(url)
    options: dict[str, Any] = {}
    if address.get_backend_name() == "postgresql":
        schema = address.query["schema"]
        options["connect_args"] = {"server_settings": {"search_path": schema}}
        address = address.set(drivername="postgresql+asyncpg", query={})
    else:
        address = address.set(drivername="sqlite+aiosqlite")
    engine = create_async_engine(address, **options)
    stack.push_async_callback(engine.dispose)
    return engine
