"""Make Edgy's models a source of events: `publish`."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import MetaData

from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, ModelError
from edgy_bus.integrations.edgy.checking import (
    check_excluded,
    check_model,
    check_publishing,
)
from edgy_bus.integrations.edgy.connections import install, uninstall
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.inboxes import EdgyInbox
from edgy_bus.integrations.edgy.places import RegistryDatabase
from edgy_bus.integrations.edgy.publishing import Publisher
from edgy_bus.integrations.sqlalchemy.places import address_of
from edgy_bus.lifecycle import Hook, Lifecycle
from edgy_bus.signals import DESCRIPTION
from edgy_bus.sources import EventWriter, LocalWriter, OnModel, Source, SourceModel, Value


class Attachable(Protocol):
    """The part of a bus that a source uses."""

    lifecycle: Lifecycle

    def attach(self, source: Source) -> None:
        """Take the signals of the source's models to the broker."""

    def on_start(self, hook: Hook) -> Hook:
        """Await `hook()` when the bus starts."""


def publish(
    registry: Value,
    bus: Attachable,
    *,
    exclude: Iterable[type | str] = (),
    database: str | None = None,
) -> "EdgySource":
    """Publish what Edgy's models do to the rows of a registry's database.

    Every statement that changes rows of a model writes the events of the rows in its transaction:
    in the one that is open, or in one that is opened for the statement. Models that are declared
    later are published as well. The bus connects the registry when it starts.

    Args:
        registry: the registry of the models, before it connects.
        bus: takes the events to workers, before it starts.
        exclude: models that are not published, or their names.
        database: the URL of the registry's database for the relay; by default the registry's URL.

    Returns:
        The source.

    Raises:
        ConfigurationError: for a registry, a database or a bus that cannot publish.
        ModelError: for a model whose changes cannot all be published.
    """
    check_publishing(registry, bus)
    if registry in _published:
        raise ConfigurationError(
            "this registry is published already: take the source that publish() has returned. A "
            "test that needs another bus calls source.close() first"
        )
    source = EdgySource(registry, bus, exclude, database)
    _published[registry] = source
    return source


_published: WeakKeyDictionary[Value, "EdgySource"] = WeakKeyDictionary()
"""The sources of published registries."""


class EdgySource:
    """The models of a registry of Edgy. Made by `publish`."""

    def __init__(
        self, registry: Value, bus: Attachable, exclude: Iterable[type | str], database: str | None
    ) -> None:
        self._registry = registry
        self._bus = bus
        self._excluded = {each if isinstance(each, str) else each.__name__ for each in exclude}
        url = database or address_of(registry.database.url.sqla_url, "registries")
        # The relay reads the outbox with connections of its own, beside those of the registry.
        self.database: Database = RegistryDatabase(url, registry)
        self.metadata: MetaData = registry.metadata_by_name[None]
        self.writer: EventWriter = LocalWriter(self.database)
        self.models: dict[str, EdgyModel] = {}
        self.tables: frozenset[str] = frozenset()
        self._on_model: list[OnModel] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False
        for sender in _names(registry).values():
            self._describe(sender)
        for model in self.models.values():
            model.check()
        # Edgy calls it for the present models as well.
        registry.register_callback(None, self._describe)
        self._publisher = Publisher(self)
        install(registry.database.backend, self._publisher)
        bus.on_start(self._begin)
        # Last: the bus asks for the models, and replaces the writer.
        bus.attach(self)

    def close(self) -> None:
        """Publish nothing any more, so that a test can publish the registry to another bus."""
        self._is_closed = True
        _published.pop(self._registry, None)
        uninstall(self._registry.database.backend)
        self._publisher.stop()

    @cached_property
    def inbox(self) -> EdgyInbox:
        """Return the inbox of receivers that write with models of the registry."""
        inbox = EdgyInbox(self._registry.database, self.database)
        self._bus.on_start(inbox.prepare)
        return inbox

    @property
    def connects_itself(self) -> bool:
        """Return True: Edgy's models write on the connections of their registry."""
        return True

    def described(self) -> Sequence[SourceModel]:
        """Return the models of the registry."""
        return list(self.models.values())

    def on_described(self, callback: OnModel) -> None:
        """Call `callback` for every model, present and future."""
        self._on_model.append(callback)
        for model in self.models.values():
            callback(model)

    def model(self, model: type) -> SourceModel:
        """Return the description of a model, with its `signals`.

        Raises:
            ModelError: for a model that is not published.
        """
        described: EdgyModel | None = vars(model).get(DESCRIPTION)
        if described is None or described not in self.models.values():
            raise ModelError(f"{model.__name__} is not published here: publish(registry, bus)")
        return described

    def notify(self, callback: Callable[[], None]) -> None:
        """Call a function that belongs to the event loop of the bus, some time."""
        # databasez runs statements of other event loops in the loop of their database. Without a
        # bus in this process, relays elsewhere find the events when they look next.
        loop = self._loop
        if loop is asyncio.get_running_loop():
            callback()
        elif loop is not None and loop.is_running():
            loop.call_soon_threadsafe(callback)

    async def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        for model in self.models.values():
            model.check()
        # Now all models are declared that others refer to.
        check_excluded(self._excluded, _names(self._registry), self.models)

    def _describe(self, sender: Value) -> None:
        is_known = any(model.sender is sender for model in self.models.values())
        if self._is_closed or is_known or sender.__name__ in self._excluded:
            return
        check_model(sender, self._registry)
        # The receivers of a class stay where the class is published to another bus, in a test.
        former: EdgyModel | None = vars(sender).get(DESCRIPTION)
        signals = former.signals if former is not None and former.sender is sender else None
        described = (vars(base).get(DESCRIPTION) for base in sender.__bases__)
        parents = [each for each in described if isinstance(each, EdgyModel)]
        model = EdgyModel(sender, self.database.dialect, parents, signals)
        type.__setattr__(sender, DESCRIPTION, model)
        self.models[model.table_key] = model
        self.tables |= {model.table_name.lower()}
        for callback in self._on_model:
            callback(model)


def _names(registry: Value) -> Mapping[str, type]:
    models: Mapping[str, type] = {**registry.models, **registry.reflected}
    return models
