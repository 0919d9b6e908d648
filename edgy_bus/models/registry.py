"""Where models are registered: one database, one SQLAlchemy metadata, and the recorder of a bus."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.models.operations import LocalRecorder, Recorder

if TYPE_CHECKING:
    from edgy_bus.models.model import Model

OnModel = Callable[["type[Model]"], None]


class Attachable(Protocol):
    """A bus, as much as a registry knows of it."""

    def attach(self, registry: "Registry") -> None:
        """Record what the registry's models do."""


class Registry:
    """Models that share a database.

    Args:
        database: a `Database`, or a URL.
        bus: where their signals go; without one, every receiver runs in this process.
    """

    def __init__(self, database: Database | str, bus: Attachable | None = None) -> None:
        self.database = Database(database) if isinstance(database, str) else database
        self.metadata = sa.MetaData()
        self.models: dict[str, type[Model]] = {}
        self.recorder: Recorder = LocalRecorder()
        self._on_model: list[OnModel] = []
        if bus is not None:
            bus.attach(self)

    def register(self, model: "type[Model]") -> None:
        """Called by every model that names this registry."""
        self.models[model.meta.name] = model
        for callback in self._on_model:
            callback(model)

    def on_model(self, callback: OnModel) -> None:
        """Call `callback` for every model, present and future."""
        self._on_model.append(callback)
        for model in self.models.values():
            callback(model)

    async def create_all(self) -> None:
        """Create the tables that are missing: those of the models, and those that a bus needs."""
        await self.database.create_tables(self.metadata)

    async def drop_all(self) -> None:
        """Drop these tables."""
        await self.database.drop_tables(self.metadata)

    async def __aenter__(self) -> Self:
        await self.database.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.database.disconnect()
