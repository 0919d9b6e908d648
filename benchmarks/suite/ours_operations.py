"""The cost of an operation on a model, beside the same statement on the raw driver.

On PostgreSQL and on SQLite. Every contender writes row after row, each in a transaction of its own,
or some hundred rows in a transaction. The outbox is written, and not relayed.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy as sa

import edgy_bus as edgy
from benchmarks.suite.contender import Contender, Measured, Scale
from benchmarks.suite.operations_by_hand import Raw, bulk_postgresql, raw_postgresql, raw_sqlite
from benchmarks.suite.ours import Service
from benchmarks.suite.peers import Peer
from benchmarks.suite.place import Place, rows
from edgy_bus.signals import post_save

Values = dict[str, Any]
Work = Callable[[Values], Awaitable[object]]
BulkWork = Callable[[Sequence[Values]], Awaitable[object]]

BULK = 500
"""Rows of a bulk call."""
KEPT = ("insert-raw", "insert-outbox", "update-raw", "update-outbox", "bulk-raw", "bulk-outbox")
"""The operations whose ratios `make bench-check` keeps, on PostgreSQL."""


class Operation(Contender):
    """Time operations on single rows."""

    def __init__(self, key: str, label: str, work: Work, count: int) -> None:
        self.key, self.label = key, label
        self._work, self._rows = work, rows(count)

    async def round(self) -> Measured:
        start = time.perf_counter()
        for row in self._rows:
            await self._work(row)
        return {"us": (time.perf_counter() - start) / len(self._rows) * 1e6}


class BulkOperation(Contender):
    """Time calls of `BULK` rows; the figure is the time for a row."""

    def __init__(self, key: str, label: str, work: BulkWork, calls: int) -> None:
        self.key, self.label = key, label
        self._work, self._calls, self._rows = work, calls, rows(BULK)

    async def round(self) -> Measured:
        start = time.perf_counter()
        for _ in range(self._calls):
            await self._work(self._rows)
        return {"us": (time.perf_counter() - start) / (self._calls * BULK) * 1e6}


class Edgy(Peer):
    """Time the real Edgy, which has no outbox."""

    async def round(self) -> Measured:
        return {"us": 1e6 / await self.ask()}


class _Users:
    """Define a model with a table and a registry of its own."""

    def __init__(self, database: edgy.Database, table: str, *, outbox: bool) -> None:
        bus = edgy.Bus("memory://", service="bench", relay=False) if outbox else None
        self.registry = registry_of_users = edgy.Registry(database, bus=bus)

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=100)
            email: str = edgy.CharField(max_length=100)
            is_verified: bool = edgy.BooleanField(default=False)
            about: str = edgy.CharField(max_length=400)

            class Meta:
                registry = registry_of_users
                tablename = table

        self.model: Any = User

    def create(self, row: Values) -> Awaitable[object]:
        created: Awaitable[object] = self.model.query.create(**row)
        return created

    def bulk_create(self, values: Sequence[Values]) -> Awaitable[object]:
        created: Awaitable[object] = self.model.query.bulk_create(values)
        return created

    async def updating(self) -> Work:
        """Create a row. Returns the operation that updates the row's name."""
        instance = await self.create(rows(1)[0])
        user: Any = instance

        def update(row: Values) -> Awaitable[object]:
            updated: Awaitable[object] = user.update(name=row["name"])
            return updated

        return update


class _Models:
    """The same model three times: without an outbox, with an outbox, and with a local receiver."""

    def __init__(self, database: edgy.Database) -> None:
        self.database = database
        self.plain = _Users(database, "plain", outbox=False)
        self.recorded = _Users(database, "recorded", outbox=True)
        self.received = _Users(database, "received", outbox=True)

    async def create_tables(self) -> None:
        for users in (self.plain, self.recorded, self.received):
            await users.registry.create_all()

        @post_save(self.received.model, local=True)
        async def nothing(sender: Any, **kwargs: Any) -> None: ...

    def insert_by_databases(self) -> Work:
        table = self.plain.model.meta.table
        insert = sa.insert(table).returning(*table.c)
        return lambda row: self.database.fetch_one(insert.values(**row))


@asynccontextmanager
async def kept(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    """Yield the contenders of `KEPT`."""
    async with AsyncExitStack() as stack:
        contenders = await _on_postgresql(stack, place, scale)
        keys = [_key(name, "postgresql") for name in KEPT]
        yield [contender for contender in contenders if contender.key in keys]


@asynccontextmanager
async def contenders(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with AsyncExitStack() as stack:
        yield [
            *await _on_postgresql(stack, place, scale),
            *await _on_sqlite(stack, place, scale),
            await _in_service(stack, place, scale),
            _edgy(place, scale),
        ]


async def _on_postgresql(stack: AsyncExitStack, place: Place, scale: Scale) -> list[Contender]:
    url = place.schema("operations")
    stack.callback(place.drop, url)
    models = await _models(stack, url)
    raw = await raw_postgresql(stack, url)
    return [
        *await _single(models, raw, "postgresql", scale),
        *_bulk(models, await bulk_postgresql(stack, url), scale),
    ]


async def _on_sqlite(stack: AsyncExitStack, place: Place, scale: Scale) -> list[Contender]:
    url = f"sqlite:///{place.folder / 'operations.sqlite'}"
    models = await _models(stack, url)
    return await _single(models, await raw_sqlite(stack, url), "sqlite", scale)


async def _models(stack: AsyncExitStack, url: str) -> _Models:
    models = _Models(await stack.enter_async_context(edgy.Database(url)))
    await models.create_tables()
    return models


async def _single(models: _Models, raw: Raw, database: str, scale: Scale) -> list[Contender]:
    update_local = await models.plain.updating()
    update_outbox = await models.recorded.updating()
    work: Mapping[str, tuple[str, Work]] = {
        "insert-raw": ("raw driver", raw.insert),
        "insert-databases": ("databases", models.insert_by_databases()),
        "insert-local": ("create, local mode", models.plain.create),
        "insert-outbox": ("create with its outbox row", models.recorded.create),
        "insert-received": ("the same and a local receiver", models.received.create),
        "update-raw": ("raw driver", raw.update),
        "update-local": ("update, local mode", update_local),
        "update-outbox": ("update with its outbox row", update_outbox),
    }
    return [
        Operation(_key(name, database), _label(name, database, label), do, scale.operations)
        for name, (label, do) in work.items()
    ]


def _bulk(models: _Models, by_hand: BulkWork, scale: Scale) -> list[Contender]:
    work: Mapping[str, tuple[str, BulkWork]] = {
        "bulk-raw": (f"{BULK} rows and their outbox rows by hand, a row", by_hand),
        "bulk-outbox": (f"bulk_create of {BULK} rows, a row", models.recorded.bulk_create),
    }
    return [
        BulkOperation(
            _key(name, "postgresql"), _label(name, "postgresql", label), do, scale.bulk_calls
        )
        for name, (label, do) in work.items()
    ]


def _key(name: str, database: str) -> str:
    return f"operations.{name}-{database}"


def _label(name: str, database: str, label: str) -> str:
    return f"{name.partition('-')[0]}, {database}: {label}"


async def _in_service(stack: AsyncExitStack, place: Place, scale: Scale) -> Contender:
    service = await stack.enter_async_context(Service(place, "operations-service"))
    [model] = service.models
    return Operation(
        "operations.insert-service-postgresql",
        "insert, postgresql: create in a running service, which also sends pre_save and NOTIFY",
        lambda row: model.query.create(**row),
        scale.operations,
    )


def _edgy(place: Place, scale: Scale) -> Contender:
    address = urlsplit(place.postgres.url)
    url = urlunsplit(address._replace(scheme="postgresql+asyncpg"))
    arguments = ("--count", str(scale.operations), "--database", url)
    label = "insert, postgresql: Edgy, query.create"
    return Edgy(place, "edgy", "publish", arguments, "operations.edgy", label)
