"""Make SQLAlchemy's sessions a source of events: `publish`."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine, MetaData, Table, event
from sqlalchemy.orm import Mapper, Session, registry, sessionmaker

from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, ModelError
from edgy_bus.integrations.sqlalchemy.calling import AsyncCaller, Caller, PortalCaller
from edgy_bus.integrations.sqlalchemy.factories import (
    check_factory,
    engine_of,
    is_async,
    session_class,
)
from edgy_bus.integrations.sqlalchemy.inboxes import SessionInbox
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel, check_relationships
from edgy_bus.integrations.sqlalchemy.places import database_of, same_place
from edgy_bus.integrations.sqlalchemy.references import Reference, references
from edgy_bus.integrations.sqlalchemy.selections import SelectableModel
from edgy_bus.integrations.sqlalchemy.sessions import Sessions
from edgy_bus.lifecycle import Hook
from edgy_bus.signals import DESCRIPTION
from edgy_bus.sources import EventWriter, LocalWriter, OnModel, Source, SourceModel, Value

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    SessionFactory = (
        sessionmaker[Value] | async_sessionmaker[Value] | type[Session] | type[AsyncSession]
    )


class Attachable(Protocol):
    """The part of a bus that a source uses."""

    def attach(self, source: Source) -> None:
        """Take the signals of the source's models to the broker."""

    def on_start(self, hook: Hook) -> Hook:
        """Await `hook()` when the bus starts."""


def publish(
    sessions: "SessionFactory",
    base: Value,
    bus: Attachable,
    *,
    database: Database | str | None = None,
) -> "SessionSource":
    """Publish what sessions do to the rows of mapped classes.

    Every flush, and every `update(Class)` and `delete(Class)`, writes the events of the changed
    rows in the transaction of the session. Classes that are declared later are published as well.

    Args:
        sessions: a `sessionmaker`, an `async_sessionmaker`, or a class of sessions. Sessions that
            another factory makes publish nothing.
        base: the declarative base of the classes, or their `registry`. A class with
            `__table_args__ = {"info": {"publish": False}}` is left out.
        bus: takes the events to workers.
        database: the database of the sessions, for the relay; by default that of the factory's
            engine.

    Returns:
        The source.

    Raises:
        ConfigurationError: for sessions or a database that cannot publish.
        ModelError: for a mapped class whose changes cannot all be published.
    """
    return SessionSource(sessions, base, bus, database)


class SessionSource:
    """The mapped classes of a declarative base, whose rows sessions change. Made by `publish`."""

    def __init__(
        self,
        sessions: "SessionFactory",
        base: Value,
        bus: Attachable,
        database: Database | str | None,
    ) -> None:
        check_factory(sessions)
        self._registry = _registry_of(base)
        engine = engine_of(sessions)
        self._engine = None if database is not None else engine
        # The relay reads the outbox with connections of its own, beside those of the engine.
        self.database = database_of(engine, database)
        self.metadata: MetaData = self._registry.metadata
        self.writer: EventWriter = LocalWriter(self.database)
        self.tables: frozenset[str] = frozenset()
        self._models: dict[ClassMapper, MappedModel] = {}
        self._by_table: dict[Table, ClassMapper] = {}
        self._references: dict[MappedModel, Sequence[Reference]] = {}
        self._on_model: list[OnModel] = []
        self._places: WeakSet[Engine] = WeakSet()
        self._bus = bus
        self._followed: list[Sessions] = []
        self._factory: Value = sessions
        _refuse_twice(self._registry, bus)
        self.add(sessions)
        for mapper in sorted(self._registry.mappers, key=_depth):
            self._describe(mapper)
        # Of all classes: a class without the base can belong to the registry as well.
        event.listen(Mapper, "after_mapper_constructed", self._on_mapper)
        event.listen(Mapper, "mapper_configured", self._on_configured)
        # Last: the bus asks for the models, and replaces the writer.
        bus.attach(self)

    def add(self, sessions: "SessionFactory") -> None:
        """Publish what the sessions of another factory do, in the same database.

        Raises:
            ConfigurationError: for sessions that cannot publish.
        """
        check_factory(sessions)
        followed = Sessions(self, session_class(sessions), _caller(sessions, self._bus))
        self._followed.append(followed)
        for mapper in self._models:
            followed.follow(mapper)

    @cached_property
    def inbox(self) -> SessionInbox:
        """Return the inbox of receivers that write with the sessions of the factory.

        Raises:
            ConfigurationError: for synchronous sessions, in which no receiver can run.
        """
        if not is_async(self._factory):
            raise ConfigurationError(
                "receivers run in an event loop, where a synchronous Session would block: publish "
                "an async_sessionmaker, and source.add() the synchronous one"
            )
        inbox = SessionInbox(self._factory, self.database)
        self._bus.on_start(inbox.prepare)
        return inbox

    @property
    def connects_itself(self) -> bool:
        """Return True: sessions write on the connections of their engine."""
        return True

    def described(self) -> Sequence[SourceModel]:
        """Return the models of the mapped classes."""
        return list(self._models.values())

    def on_described(self, callback: OnModel) -> None:
        """Call `callback` for every mapped class, present and future."""
        self._on_model.append(callback)
        for model in self._models.values():
            callback(model)

    def model(self, mapped: type) -> SourceModel:
        """Return the description of a mapped class, with its `signals`.

        Raises:
            ModelError: for a class that is not published.
        """
        model: MappedModel | None = vars(mapped).get(DESCRIPTION)
        if model is None or model not in self._models.values():
            raise ModelError(
                f"{mapped.__name__} is not published here: publish(Session, Base, bus)"
            )
        return model

    def model_of(self, mapper: ClassMapper) -> MappedModel | None:
        """Return the description of a mapped class; None if the class is not published."""
        return self._models.get(mapper)

    def references_to(self, model: MappedModel) -> Sequence[Reference]:
        """Return the foreign keys by which the database changes rows with those of a model."""
        referring = self._references.get(model)
        if referring is None:
            owners = [(table, self._models[mapper]) for table, mapper in self._by_table.items()]
            referring = self._references[model] = list(references(model, owners))
        return referring

    def check_place(self, connection: Connection) -> None:
        """Refuse a connection to another database than that of the outbox.

        Raises:
            ConfigurationError: for a session that is bound to another database.
        """
        engine = connection.engine
        if self._engine is None or engine in self._places:
            return
        if not same_place(engine.url, self._engine.url):
            raise ConfigurationError(
                "this session is bound to another database than its factory was when publish() was "
                "called: events are written where the rows are. Publish each factory with a bus"
            )
        self._places.add(engine)

    def _on_mapper(self, mapper: ClassMapper, _: type) -> None:
        if mapper.registry is self._registry:
            self._describe(mapper)

    def _on_configured(self, mapper: ClassMapper, _: type) -> None:
        # Of a class that is left out, too: its relationships may change rows of published classes.
        if mapper.registry is self._registry:
            check_relationships(mapper, self._by_table)

    def _describe(self, mapper: ClassMapper) -> None:
        table = mapper.local_table
        if isinstance(table, Table) and table.info.get("publish", True) is False:
            return
        parents = [] if mapper.inherits is None else [self._models.get(mapper.inherits)]
        inherited = [each for each in parents if each is not None]
        # The receivers of a class stay where the class is published to another bus, in a test.
        former: MappedModel | None = vars(mapper.class_).get(DESCRIPTION)
        signals = None if former is None else former.signals
        model = SelectableModel(mapper, self.database.dialect, inherited, signals)
        setattr(mapper.class_, DESCRIPTION, model)
        self._models[mapper] = model
        self._references.clear()
        for each in mapper.tables:
            if isinstance(each, Table):
                self._by_table.setdefault(each, mapper)
        self.tables = frozenset(each.name.lower() for each in self._by_table)
        for sessions in self._followed:
            sessions.follow(mapper)
        # Relationships name other classes, so they are known once all classes are.
        for present in self._registry.mappers:
            if present.configured:
                check_relationships(present, self._by_table)
        for callback in self._on_model:
            callback(model)


def _depth(mapper: ClassMapper) -> int:
    """Return the number of classes that a class inherits from: parents are described first."""
    return len(list(mapper.iterate_to_root()))


def _registry_of(base: Value) -> registry:
    classes = base if isinstance(base, registry) else getattr(base, "registry", None)
    if not isinstance(classes, registry):
        raise ConfigurationError(
            f"publish() takes a declarative base or a registry of SQLAlchemy, not {base!r}: "
            "publish(Session, Base, bus)"
        )
    return classes


_published: WeakKeyDictionary[registry, WeakSet[Attachable]] = WeakKeyDictionary()
"""The buses to which the classes of a registry are published."""


def _refuse_twice(classes: registry, bus: Attachable) -> None:
    buses = _published.setdefault(classes, WeakSet())
    if bus in buses:
        raise ConfigurationError(
            "the classes of this base are published to this bus already: take the source that "
            "publish() has returned, and call source.add(OtherSession)"
        )
    buses.add(bus)


def _caller(sessions: "SessionFactory", bus: Attachable) -> Caller:
    if is_async(sessions):
        return AsyncCaller()
    portal = PortalCaller()
    bus.on_start(portal.remember_bus)
    return portal
