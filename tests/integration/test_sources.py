"""The seam from outside: a source that is not a registry, with models that are not ours.

It describes its models, hands over its changes, and writes on connections of its own.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

import edgy_bus as edgy
from edgy_bus.outbox import statements
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import RelaySettings, WorkerSettings
from edgy_bus.signals import Broadcaster
from edgy_bus.sources import (
    EventWriter,
    InsertRows,
    LocalWriter,
    RowChange,
    Source,
    SourceModel,
    TableModel,
    UpdateRows,
)
from tests.support import eventually


class Book:
    """The class of a foreign ORM."""


@dataclass
class BookModel:
    """The description of a foreign class."""

    table: sa.Table
    name: str = "Book"
    sender: Any = Book
    signals: Broadcaster = field(default_factory=lambda: Broadcaster("Book"))
    publish: tuple[str, ...] | None = None
    public: tuple[str, ...] = ("isbn", "title", "tags")
    pk: str = "isbn"

    def stored(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return values

    def read(self, row: Mapping[str, Any]) -> object:
        return SimpleNamespace(**row)


class Library:
    """A source with sessions of its own."""

    def __init__(self, url: str, bus: edgy.Bus) -> None:
        self.database = edgy.Database(url)
        self.metadata = sa.MetaData()
        self.books = sa.Table(
            "books",
            self.metadata,
            sa.Column("isbn", sa.String(20), primary_key=True),
            sa.Column("title", sa.String(100)),
            sa.Column("tags", sa.JSON()),
            sa.Column("cost", sa.Integer()),
        )
        self.model = BookModel(self.books)
        self.writer: EventWriter = LocalWriter(self.database)
        bus.attach(self)

    def described(self) -> Sequence[SourceModel]:
        return [self.model]

    connects_itself = False

    def on_described(self, callback: Callable[[SourceModel], None]) -> None:
        callback(self.model)

    def flush(self, connection: sa.Connection, signal: str, changes: Sequence[RowChange]) -> None:
        """Write the events of changes on a foreign connection, in its transaction."""
        writer: Any = self.writer
        rows = writer.events(self.model, signal, changes)
        connection.execute(sa.insert(outbox), rows)
        connection.execute(statements.LAST_PENDING, {"count": len(rows)})


SEVEN = {"isbn": "7", "title": "Seven", "tags": ["a"], "cost": 3}


@dataclass
class Desk:
    """A bus, its foreign source, and the calls of a receiver."""

    bus: edgy.Bus
    library: Library
    calls: list[tuple[Any, Any, dict[str, Any]]]


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    bus = edgy.Bus(
        "memory://",
        service="library",
        relaying=RelaySettings(poll=0.05),
        working=WorkerSettings(block=0.05),
    )
    library = Library(database_url, bus)
    calls: list[tuple[Any, Any, dict[str, Any]]] = []

    async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
        calls.append((sender, instance, kwargs))

    library.model.signals.post_save.connect(receiver)
    library.model.signals.post_update.connect(receiver)
    bus.on_start(lambda: library.database.create_tables(library.metadata))
    async with bus, bus.worker():
        yield Desk(bus, library, calls)


def test_the_protocols_describe_foreign_classes(sqlite_url: str) -> None:
    library = Library(sqlite_url, edgy.Bus())
    source: Source = library
    model: TableModel = library.model
    assert list(source.described()) == [model]
    assert isinstance(source.writer, LocalWriter), "a bus without a broker leaves the writer alone"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_source_writes_events_on_its_own_connection(desk: Desk) -> None:
    library, url = desk.library, str(desk.library.database.url)
    engine = sa.create_engine(url)
    change = RowChange("7", SEVEN)
    with engine.connect() as connection:
        connection.execute(sa.insert(library.books), [SEVEN])
        library.flush(connection, "post_save", [change])
        connection.rollback()
        connection.execute(sa.insert(library.books), [SEVEN])
        library.flush(connection, "post_save", [change])
        connection.commit()
    engine.dispose()
    writer: Any = library.writer
    writer.ring()
    await eventually(lambda: desk.calls)
    [(sender, instance, kwargs)] = desk.calls
    assert sender is Book
    assert vars(instance) == {"isbn": "7", "title": "Seven", "tags": ["a"]}, "the cost is secret"
    assert kwargs["event"].subject == "7"
    assert kwargs["changes"] is None


async def test_a_source_may_describe_its_writes_like_our_models(desk: Desk) -> None:
    library = desk.library
    await library.writer.write(InsertRows(library.model, "post_save", [SEVEN]))
    updates = [("7", {"title": "VII", "tags": ["b"], "cost": 4})]
    await library.writer.write(UpdateRows(library.model, "post_update", updates, exclusive=False))
    await eventually(lambda: len(desk.calls) == 2)
    assert [kwargs["changes"] for _, _, kwargs in desk.calls] == [
        None,
        {"title": {"old": "Seven", "new": "VII"}, "tags": {"old": ["a"], "new": ["b"]}},
    ]
