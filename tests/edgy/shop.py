"""A shop of Edgy's models, published on a bus, on the databases of the tests."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
import sqlalchemy as sa

import edgy_bus
from edgy_bus.codec import loads
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import RelaySettings, WorkerSettings

os.environ.setdefault("EDGY_SETTINGS_MODULE", "edgy.conf.global_settings.EdgySettings")
edgy = pytest.importorskip("edgy", reason="Edgy has an environment of its own: make test-edgy")

from edgy_bus.integrations.edgy import EdgySource, publish

Event = tuple[str, str, str | None, dict[str, Any]]


class Color(Enum):
    RED = 1
    BLUE = 2


def database_of(url: str) -> Any:
    """An Edgy database for a URL of a test, whose schema is the test's own on PostgreSQL."""
    address, _, query = url.partition("?")
    if address.startswith("sqlite"):
        return edgy.Database(url)
    schema = query.partition("=")[2]
    options: dict[str, Any] = {"server_settings": {"search_path": schema}}
    if "+psycopg" in address:
        options = {"options": f"-c search_path={schema}"}
    return edgy.Database(address, connect_args=options)


def address_of(url: str) -> str:
    """The URL of a test for the relay."""
    return url.replace("+asyncpg", "").replace("+psycopg", "")


class Models:
    """The models of a registry: classes of a test's own, so that tests share no receivers."""

    def __init__(self, url: str) -> None:
        self.database = database_of(url)
        registry = self.registry = edgy.Registry(database=self.database)

        class Author(edgy.StrictModel):
            name: str = edgy.CharField(max_length=50)
            email: str | None = edgy.CharField(max_length=50, null=True, unique=True)
            pin: str = edgy.CharField(max_length=50, default="1234", secret=True)
            color: Color = edgy.ChoiceField(choices=Color, default=Color.RED)
            notes: Any = edgy.JSONField(default=list)

            class Meta:
                registry = self.registry

        class Tag(edgy.StrictModel):
            name: str = edgy.CharField(max_length=50, column_name="tag_name")

            class Meta:
                registry = self.registry

        class Book(edgy.StrictModel):
            title: str = edgy.CharField(max_length=50)
            author: Any = edgy.ForeignKey(
                Author, related_name="books", null=True, on_delete=edgy.CASCADE
            )
            editor: Any = edgy.ForeignKey(
                Author, related_name="edited", null=True, on_delete=edgy.SET_NULL
            )
            tags: Any = edgy.ManyToMany(Tag)

            class Meta:
                registry = self.registry

        class Place(edgy.StrictModel):
            shelf: str = edgy.CharField(max_length=10, primary_key=True)
            number: int = edgy.IntegerField(primary_key=True, autoincrement=False)
            title: str = edgy.CharField(max_length=50)

            class Meta:
                registry = self.registry

        class Node(edgy.StrictModel):
            parent: Any = edgy.ForeignKey("Node", null=True, on_delete=edgy.CASCADE)

            class Meta:
                registry = self.registry

        class Log(edgy.StrictModel):
            """Not published."""

            text: str = edgy.CharField(max_length=50)

            class Meta:
                registry = self.registry

        self.Author: Any = Author
        self.Tag: Any = Tag
        self.Book: Any = Book
        self.Place: Any = Place
        self.Node: Any = Node
        self.Log: Any = Log
        self.Through: Any = registry.get_model("BookTagsThrough")
        self.published = (Author, Tag, Book, Place, Node, self.Through)


@dataclass
class Shop:
    """A bus, the models that it publishes, and what receivers were called with."""

    bus: edgy_bus.Bus
    source: EdgySource
    models: Models
    calls: list[Any] = field(default_factory=list)

    @property
    def database(self) -> Any:
        return self.models.database

    async def events(self) -> list[Event]:
        """The events of the outbox: model, signal, subject and data, in order."""
        rows = await self.database.fetch_all(sa.select(outbox).order_by(outbox.c.id))
        return [(row.model.split(".")[1], row.signal, row.subject, loads(row.data)) for row in rows]

    async def kinds(self) -> list[tuple[str, str, str | None]]:
        return [event[:3] for event in await self.events()]

    async def forget(self) -> None:
        await self.database.execute(sa.delete(outbox))


@asynccontextmanager
async def open_shop(url: str, **options: Any) -> AsyncIterator[Shop]:
    models = Models(url)
    bus = edgy_bus.Bus(
        options.pop("broker", "memory://"),
        service="shop",
        relay=options.pop("relay", False),
        relaying=RelaySettings(poll=0.05),
        working=WorkerSettings(block=0.05),
        **options,
    )
    source = publish(models.registry, bus, exclude=[models.Log], database=address_of(url))
    async with models.registry:
        await models.registry.create_all()
        async with bus:
            yield Shop(bus, source, models)
