"""What an operation on a model costs, against the same statement on the raw driver, on PostgreSQL and on SQLite.

Every contender makes one row after another, each in a transaction of its own; the outbox is written, but not relayed.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiosqlite
import asyncpg
import sqlalchemy as sa

import edgy_bus as edgy
from benchmarks.suite.contender import Contender, Measured, Scale
from benchmarks.suite.ours import Service
from benchmarks.suite.peers import Peer
from benchmarks.suite.place import Place, rows
from edgy_bus.signals import post_save

Work = Callable[[dict[str, Any]], Awaitable[Any]]
_COLUMNS = ("name", "email", "is_verified", "about")


class Operation(Contender):
    def __init__(self, key: str, label: str, work: Work, count: int) -> None:
        self.key, self.label = key, label
        self._work, self._rows = work, rows(count)

    async def round(self) -> Measured:
        start = time.perf_counter()
        for row in self._rows:
            await self._work(row)
        return {"us": (time.perf_counter() - start) / len(self._rows) * 1e6}


class Edgy(Peer):
    """The real Edgy, which has no outbox."""

    async def round(self) -> Measured:
        return {"us": 1e6 / await self.ask()}


class _Users:
    """A table and a registry."""

    def __init__(self, database: edgy.Database, table: str, bus: edgy.Bus | None) -> None:
        self.registry = own = edgy.Registry(database, bus=bus)

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=100)
            email: str = edgy.CharField(max_length=100)
            is_verified: bool = edgy.BooleanField(default=False)
            about: str = edgy.CharField(max_length=400)

            class Meta:
                registry = own
                tablename = table

        self.model = User


def _bus() -> edgy.Bus:
    return edgy.Bus("memory://", service="bench", relay=False)


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        url = place.schema("operations")
        stack.callback(place.drop, url)
        found: list[Contender] = []
        for name, database_url in (
            ("postgresql", url),
            ("sqlite", f"sqlite:///{place.folder / 'operations.sqlite'}"),
        ):
            found += await _on(stack, name, database_url, scale)
        [served] = (await stack.enter_async_context(Service(place, "operations-service"))).models
        found.append(
            Operation(
                "operations.insert-service-postgresql",
                "insert, postgresql: create in a running service, which also sends pre_save and NOTIFY",
                lambda row: served.query.create(**row),
                scale.operations,
            )
        )
        address = urlsplit(place.postgres.url)
        arguments = (
            "--count",
            str(scale.operations),
            "--database",
            urlunsplit(address._replace(scheme="postgresql+asyncpg")),
        )
        found.append(
            Edgy(
                place,
                "edgy",
                "publish",
                arguments,
                "operations.edgy",
                "insert, postgresql: Edgy, query.create",
            )
        )
        yield found


async def _on(stack: AsyncExitStack, name: str, url: str, scale: Scale) -> list[Contender]:
    database = await stack.enter_async_context(edgy.Database(url))
    plain, recorded, heard = (
        _Users(database, table, bus)
        for table, bus in (("plain", None), ("recorded", _bus()), ("heard", _bus()))
    )
    for users in (plain, recorded, heard):
        await users.registry.create_all()

    @post_save(heard.model, local=True)
    async def nothing(sender: Any, **kwargs: Any) -> None: ...

    raw_insert, raw_update = await _raw(stack, name, url)
    one, other = (
        await plain.model.query.create(**rows(1)[0]),
        await recorded.model.query.create(**rows(1)[0]),
    )
    insert = sa.insert(plain.model.meta.table).returning(*plain.model.meta.table.c)
    work: dict[str, tuple[str, Work]] = {
        "insert-raw": ("insert, {}: raw driver", raw_insert),
        "insert-databases": (
            "insert, {}: databases",
            lambda row: database.fetch_one(insert.values(**row)),
        ),
        "insert-local": (
            "insert, {}: create, local mode",
            lambda row: plain.model.query.create(**row),
        ),
        "insert-outbox": (
            "insert, {}: create with its outbox row",
            lambda row: recorded.model.query.create(**row),
        ),
        "insert-heard": (
            "insert, {}: the same and a local receiver",
            lambda row: heard.model.query.create(**row),
        ),
        "update-raw": ("update, {}: raw driver", raw_update),
        "update-local": (
            "update, {}: update, local mode",
            lambda row: one.update(name=row["name"]),
        ),
        "update-outbox": (
            "update, {}: update with its outbox row",
            lambda row: other.update(name=row["name"]),
        ),
    }
    return [
        Operation(f"operations.{key}-{name}", label.format(name), do, scale.operations)
        for key, (label, do) in work.items()
    ]


async def _raw(stack: AsyncExitStack, name: str, url: str) -> tuple[Work, Work]:
    """The driver alone, on a connection of its own, one statement and one commit for each operation."""
    columns = ", ".join(("id", *_COLUMNS))
    if name == "postgresql":
        address, _, schema = url.rpartition("schema=")
        connection = await asyncpg.connect(
            address.rstrip("?&"), server_settings={"search_path": schema}
        )
        stack.push_async_callback(connection.close)
        into = (
            f"INSERT INTO plain ({', '.join(_COLUMNS)}) VALUES ($1, $2, $3, $4) RETURNING {columns}"
        )
        change = f"UPDATE plain SET name = $1 WHERE id = $2 RETURNING {columns}"
        return lambda row: connection.fetchrow(
            into, *row.values()
        ), lambda row: connection.fetchrow(change, row["name"], 1)
    file = await stack.enter_async_context(
        aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    )
    into = f"INSERT INTO plain ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?) RETURNING {columns}"
    change = f"UPDATE plain SET name = ? WHERE id = ? RETURNING {columns}"
    return (
        lambda row: file.execute_fetchall(into, tuple(row.values())),
        lambda row: file.execute_fetchall(change, (row["name"], 1)),
    )
