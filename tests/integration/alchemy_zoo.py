"""Mapped classes of every kind, for the tests of what sessions do to them."""

import datetime as dt
import enum
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    composite,
    mapped_column,
    relationship,
    synonym,
)

import edgy_bus as edgy
from edgy_bus.integrations.sqlalchemy import publish
from tests.integration.alchemy import Shop, async_sessionmaker, engine_of


class Zoo(DeclarativeBase):
    pass


class Kind(enum.Enum):
    A = "a"
    B = "b"
    ALIAS = "a"


def a_moment() -> dt.datetime:
    return dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


class Thing(Zoo):
    """A column of every type."""

    __tablename__ = "things"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    number: Mapped[int] = mapped_column("a number", default=1, onupdate=lambda: 7)
    amount: Mapped[Decimal] = mapped_column(sa.Numeric(10, 2), default=Decimal("1.10"))
    at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True), default=a_moment)
    day: Mapped[dt.date] = mapped_column(default=lambda: dt.date(2026, 1, 1))
    clock: Mapped[dt.time] = mapped_column(default=lambda: dt.time(1, 2))
    span: Mapped[dt.timedelta] = mapped_column(default=lambda: dt.timedelta(days=3, seconds=5))
    raw: Mapped[bytes] = mapped_column(sa.LargeBinary, default=b"\x00\xff")
    settings: Mapped[dict[str, Any]] = mapped_column(
        MutableDict.as_mutable(sa.JSON), default=lambda: {"a": 1}
    )
    ratio: Mapped[float] = mapped_column(default=1.5)
    flag: Mapped[bool] = mapped_column(default=True)
    kind: Mapped[Kind] = mapped_column(default=Kind.A)
    by_value: Mapped[Kind] = mapped_column(
        sa.Enum(
            Kind, values_callable=lambda kinds: [each.value for each in kinds], name="by_value"
        ),
        default=Kind.B,
    )
    changed: Mapped[dt.datetime] = mapped_column(
        server_default=sa.func.now(), onupdate=sa.func.now()
    )
    twice: Mapped[int] = mapped_column(sa.Computed('"a number" * 2', persisted=True))
    text: Mapped[str | None] = mapped_column(sa.Text, deferred=True)
    secret: Mapped[str] = mapped_column(default="s", info={"secret": True})
    other_name = synonym("number")

    @hybrid_property
    def hybrid(self) -> int:
        return self.number

    @hybrid.inplace.setter
    def _set_hybrid(self, value: int) -> None:
        self.number = value


Thing.count = column_property(  # type: ignore[attr-defined]
    sa.select(sa.func.count()).select_from(sa.text("things")).scalar_subquery()
)

tags_of = sa.Table(
    "tags_of",
    Zoo.metadata,
    sa.Column("group_id", sa.ForeignKey("groups.id"), primary_key=True),
    sa.Column("tag_id", sa.ForeignKey("tags.id"), primary_key=True),
)


@dataclass
class Point:
    x: int
    y: int


class Group(Zoo):
    __tablename__ = "groups"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="g")
    x: Mapped[int] = mapped_column(default=0)
    y: Mapped[int] = mapped_column(default=0)
    point: Mapped[Point] = composite("x", "y")
    tags: Mapped[list["Tag"]] = relationship(secondary=tags_of, back_populates="groups")
    parts: Mapped[list["Part"]] = relationship(cascade="all, delete-orphan", back_populates="group")
    passive: Mapped[list["Passive"]] = relationship(passive_deletes=True, cascade="all, delete")
    loose: Mapped[list["Loose"]] = relationship()


class Tag(Zoo):
    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    groups: Mapped[list[Group]] = relationship(secondary=tags_of, back_populates="tags")


class Part(Zoo):
    """The ORM deletes it, and the database would."""

    __tablename__ = "parts"
    group_id: Mapped[int] = mapped_column(
        sa.ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(default="")
    group: Mapped[Group] = relationship(back_populates="parts")


class Passive(Zoo):
    """The database deletes it."""

    __tablename__ = "passive"
    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("groups.id", ondelete="CASCADE"))


class Below(Zoo):
    """The database deletes it with what it has deleted."""

    __tablename__ = "below"
    id: Mapped[int] = mapped_column(primary_key=True)
    passive_id: Mapped[int] = mapped_column(sa.ForeignKey("passive.id", ondelete="CASCADE"))


class Loose(Zoo):
    """The database sets its reference to NULL."""

    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    group_id: Mapped[int | None] = mapped_column(sa.ForeignKey("groups.id", ondelete="SET NULL"))


class Node(Zoo):
    """The database deletes it with the node above."""

    __tablename__ = "nodes"
    id: Mapped[int] = mapped_column(primary_key=True)
    above: Mapped[int | None] = mapped_column(sa.ForeignKey("nodes.id", ondelete="CASCADE"))


class Animal(Zoo):
    __tablename__ = "animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    species: Mapped[str] = mapped_column(sa.String(10))
    legs: Mapped[int] = mapped_column(default=4)
    __mapper_args__ = {"polymorphic_on": species, "polymorphic_identity": "animal"}


class Bird(Animal):
    """Joined inheritance; the key has another name here."""

    __tablename__ = "birds"
    bird_id: Mapped[int] = mapped_column("id", sa.ForeignKey("animals.id"), primary_key=True)
    wings: Mapped[int] = mapped_column(default=2)
    __mapper_args__ = {"polymorphic_identity": "bird"}


class Parrot(Bird):
    __tablename__ = "parrots"
    parrot_id: Mapped[int] = mapped_column("ident", sa.ForeignKey("birds.id"), primary_key=True)
    words: Mapped[int] = mapped_column(default=5)
    __mapper_args__ = {"polymorphic_identity": "parrot"}


class Cat(Animal):
    """Single table inheritance."""

    lives: Mapped[int | None]
    plays_with: Mapped[int | None] = mapped_column(
        sa.ForeignKey("birds.id", ondelete="SET NULL", use_alter=True, name="plays_with")
    )
    __mapper_args__ = {"polymorphic_identity": "cat"}


ROOTS = (Thing, Group, Tag, Part, Passive, Below, Loose, Node, Animal)


@asynccontextmanager
async def open_zoo(
    url: str, broker: str = "memory://", *, relay: bool = False, **options: Any
) -> AsyncIterator[Shop]:
    is_sqlite = url.startswith("sqlite")
    engine = engine_of(url)

    @sa.event.listens_for(engine.sync_engine, "connect")
    def enforce(connection: Any, _: Any) -> None:
        if is_sqlite:
            connection.execute("PRAGMA foreign_keys=ON")

    sessions = async_sessionmaker(engine)
    bus = edgy.Bus(broker, service="zoo", relay=relay, publish=["post_*"], **options)
    # SQLite waits for a lock as long as the URL says.
    source = publish(sessions, Zoo, bus, database=url + ("?timeout=0.5" if is_sqlite else ""))
    async with engine.begin() as connection:
        await connection.run_sync(Zoo.metadata.create_all)
    try:
        async with bus:
            yield Shop(bus, source, sessions, engine)
    finally:
        await engine.dispose()
