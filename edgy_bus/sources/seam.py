"""The two sides of the seam: a source, and the writer that a bus gives to the source."""

from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import MetaData

from edgy_bus.database import Database
from edgy_bus.sources.base import Instance, RowChange, SourceModel, TableModel, Values
from edgy_bus.sources.writes import Write

OnModel = Callable[[SourceModel], None]


class EventWriter(Protocol):
    """Makes changes and writes their events; without a broker, only makes the changes."""

    def records(self, model: SourceModel, signal: str) -> bool:
        """Return whether the signal goes to the broker, so that its receivers run in workers."""

    async def write(self, write: Write) -> Sequence[RowChange]:
        """Make a change and write its events, both or neither; return the affected rows.

        Changes of a set contain keys only, or only their number is known (`UnnamedRows`).
        """

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write the event of a signal that the application sends."""

    # Not a coroutine: the event of an intent must not delay the operation.
    def announce(
        self,
        model: SourceModel,
        signal: str,
        instance: Instance | None,
        values: Values | None,
        *,
        is_update: bool | None = None,
    ) -> None:
        """Publish, some time, that an operation is about to happen. Never waits and never fails."""


class Source(Protocol):
    """A set of models that share a database, and the writer of their events."""

    # A plain attribute, because the bus replaces the writer when the source joins the bus.
    writer: EventWriter

    @property
    def database(self) -> Database:
        """Return the database that holds the rows and the outbox."""

    @property
    def metadata(self) -> MetaData:
        """Return the metadata that the application creates or migrates its tables from."""

    @property
    def connects_itself(self) -> bool:
        """Return whether rows are written on other connections than those of `database`."""

    def described(self) -> Sequence[SourceModel]:
        """Return the models known so far."""

    # Models are declared after their source, and often after the bus has started.
    def on_described(self, callback: OnModel) -> None:
        """Call `callback` for every model, present and future."""


class LocalWriter:
    """The writer of a source whose receivers all run in this process: writes no events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def records(self, model: SourceModel, signal: str) -> bool:  # noqa: ARG002
        return False

    async def write(self, write: Write) -> Sequence[RowChange]:
        return await write.run(self._database)

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write nothing."""

    def announce(
        self,
        model: SourceModel,
        signal: str,
        instance: Instance | None,
        values: Values | None,
        *,
        is_update: bool | None = None,
    ) -> None:
        """Publish nothing."""
