"""Run the service `billing`: an invoice for every new user, in tables of SQLAlchemy.

Run it with `edgy-bus worker workers.billing:bus`, or as a program. The worker publishes the
invoices, too.
"""

import os
import sys
from typing import Any

from sqlalchemy import BigInteger, Integer
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import edgy_bus as edgy
from edgy_bus.cli import main
from edgy_bus.integrations.sqlalchemy import publish

DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}

url = make_url(os.environ["EDGY_BUS_DATABASE_URL"])
engine = create_async_engine(url.set(drivername=DRIVERS[url.get_backend_name()]))
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The classes of this service."""


class Invoice(Base):
    """What a user has to pay."""

    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    user_id: Mapped[int] = mapped_column(BigInteger)
    cents: Mapped[int]


bus = edgy.Bus(os.environ["EDGY_BUS_REDIS_URL"], service="billing")
source = publish(Session, Base, bus)


@bus.on_start
async def create_tables() -> None:
    """Create what is missing: several workers may start at once."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


@bus.receiver("accounts.User", "post_save", inbox=source.inbox)
async def bill(sender: str, instance: Any, **kwargs: object) -> None:
    """Write an invoice. Its own event is written in the same transaction, and tells its cause."""
    source.inbox.session.add(Invoice(user_id=instance.id, cents=500))


if __name__ == "__main__":
    main(["worker", "workers.billing:bus", *sys.argv[1:]])
