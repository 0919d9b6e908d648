"""The registry: models that share a database and one SQLAlchemy metadata."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import sqlalchemy as sa

from edgy_bus.database import Database
from edgy_bus.errors import ModelError
from edgy_bus.sources import EventWriter, LocalWriter, OnModel, Source, SourceModel, Value


class RegisteredModel(Protocol):
    """The class of a model, as far as a registry needs it."""

    @property
    def meta(self) -> SourceModel:
        """Return the model's description."""


OnClass = Callable[[Value], None]
"""Takes the class of a model."""


class Attachable(Protocol):
    """The part of a bus that a registry uses."""

    def attach(self, source: Source) -> None:
        """Take the signals of a registry's models to the broker."""


class Registry:
    """Models that share a database.

    Args:
        database: a `Database`, or a URL.
        bus: takes the models' signals to workers; without a bus, receivers run in this process.
    """

    def __init__(self, database: Database | str, bus: Attachable | None = None) -> None:
        self.database = _database(database)
        self.metadata = sa.MetaData()
        self.models: dict[str, Value] = {}
        # A bus with a broker replaces this writer.
        self.writer: EventWriter = LocalWriter(self.database)
        self._on_model: list[OnClass] = []
        if bus is not None:
            _require_bus(bus)
            bus.attach(self)

    def require_free(self, name: str, model: type) -> None:
        """Refuse a second model of a name. Raises `ModelError`."""
        # Events, streams and receivers name a model by its class.
        present = self.models.get(name)
        if present is not None:
            raise ModelError(
                f"{model.__module__}.{model.__qualname__}: this registry has a model {name!r} "
                f"already, {present.__module__}.{present.__qualname__}. Events name a model by its "
                "class, so give one of them another name. A program that declares its models "
                "again, like a test or a notebook, makes a new Registry first"
            )

    def register(self, model: RegisteredModel) -> None:
        """Add a model. The class of every model calls this for its own registry."""
        self.models[model.meta.name] = model
        for callback in self._on_model:
            callback(model)

    def on_model(self, callback: OnClass) -> None:
        """Call `callback` with the class of every model, present and future."""
        self._on_model.append(callback)
        for model in self.models.values():
            callback(model)

    @property
    def connects_itself(self) -> bool:
        """Return False: models write on the connections of `database`."""
        return False

    def described(self) -> Sequence[SourceModel]:
        """Return the descriptions of the models."""
        return [model.meta for model in self.models.values()]

    def on_described(self, callback: OnModel) -> None:
        """Call `callback` with the description of every model, present and future."""
        self.on_model(lambda model: callback(model.meta))

    async def create_all(self) -> None:
        """Create the missing tables: those of the models and those that a bus needs."""
        # The bus has added its tables to the metadata, for migrations as well.
        await self.database.create_tables(self.metadata)

    async def drop_all(self) -> None:
        """Drop the tables of the models and of a bus."""
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


def _database(value: object) -> Database:
    """Return a database, made from its URL if needed. Raises `ModelError` for another value."""
    if isinstance(value, str):
        return Database(value)
    if not isinstance(value, Database):
        raise ModelError(
            f"Registry takes a Database or its URL, not a {type(value).__name__}: write for "
            'example Registry("sqlite:///app.sqlite")'
        )
    return value


def _require_bus(bus: object) -> None:
    if not callable(getattr(bus, "attach", None)) or isinstance(bus, type):
        # Not its text: the URL of a broker may contain a password.
        raise ModelError(
            f"Registry(bus=…) takes a Bus, not a {type(bus).__name__}: write for example "
            'bus=edgy_bus.Bus("redis://localhost:6379/0", service="app")'
        )
