"""What a source and a bus use of each other: the source, and the writer that the bus gives it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import MetaData

from edgy_bus.database import Database
from edgy_bus.sources.base import Instance, RowChange, SourceModel, TableModel, Values
from edgy_bus.sources.writes import Write

OnModel = Callable[[SourceModel], None]


class EventWriter(Protocol):
    """Makes changes and writes their events; without a broker, it makes the changes only."""

    def records(self, model: SourceModel, signal: str) -> bool:
        """Return whether the signal goes to the broker, so that its receivers run in workers."""

    async def write(self, write: Write) -> list[RowChange]:
        """Make a change and write its events, both or neither; return the affected rows.

        Changes of a set contain keys only.
        """

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write the event of a signal that the application sends."""

    def announce(
        self, model: SourceModel, signal: str, instance: Instance | None, values: Values | None
    ) -> None:
        """Publish, some time, that an operation is about to happen. Never waits and never fails."""


class Source(Protocol):
    """A set of models that share a database, and the writer of their events."""

    writer: EventWriter

    @property
    def database(self) -> Database:
        """Return the database that holds the rows and the outbox."""

    @property
    def metadata(self) -> MetaData:
        """Return the metadata that the application creates or migrates its tables from."""

    def described(self) -> Sequence[SourceModel]:
        """Return the models known so far."""

    def on_described(self, callback: OnModel) -> None:
        """Call `callback` for every model, known or to come."""


class LocalWriter:
    """The writer of a source whose receivers all run in this process: it writes no events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def records(self, model: SourceModel, signal: str) -> bool:  # noqa: ARG002
        return False

    async def write(self, write: Write) -> list[RowChange]:
        return await write.run(self._database)

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write nothing."""

    def announce(
        self, model: SourceModel, signal: str, instance: Instance | None, values: Values | None
    ) -> None:
        """Publish nothing."""
