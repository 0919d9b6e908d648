"""Find the sessions that a factory makes: their class, their engine, and their way of waiting."""

import sys
from weakref import WeakSet

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from edgy_bus.errors import ConfigurationError
from edgy_bus.integrations.sqlalchemy.bulk import BulkMethods
from edgy_bus.integrations.sqlalchemy.sessions import NO_TWO_PHASES
from edgy_bus.sources import Value


def is_async(sessions: object) -> bool:
    """Return whether a factory makes sessions of `sqlalchemy.ext.asyncio`."""
    # Looked up, because an import fails where greenlet is not installed. A program that has such a
    # factory has imported the module.
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    if module is None:
        return False
    return isinstance(sessions, module.async_sessionmaker) or _is_class(
        sessions, module.AsyncSession
    )


def _is_class(sessions: object, base: type) -> bool:
    return isinstance(sessions, type) and issubclass(sessions, base)


def check_factory(sessions: object) -> None:
    """Refuse what makes no sessions, and sessions that cannot publish.

    Raises:
        ConfigurationError: with the reason.
    """
    is_sync = isinstance(sessions, sessionmaker) or _is_class(sessions, Session)
    if not (is_sync or is_async(sessions)):
        raise ConfigurationError(
            "publish() takes a sessionmaker, an async_sessionmaker or a class of sessions, not "
            f"{sessions!r}"
        )
    keywords = _keywords(sessions)
    if keywords.get("twophase"):
        raise ConfigurationError(NO_TWO_PHASES)
    if keywords.get("binds"):
        raise ConfigurationError(
            "sessions with binds=… cannot publish: the outbox is in one database. Use a factory "
            "with bind=engine for the published classes"
        )


def _keywords(sessions: object) -> dict[str, Value]:
    """Return the keywords of the sessions that a factory makes; a class has no keywords."""
    keywords: dict[str, Value] = getattr(sessions, "kw", {})
    return keywords


def engine_of(sessions: object) -> Engine | None:
    """Return the synchronous engine of a factory; None if the factory has no engine."""
    bind = _keywords(sessions).get("bind")
    # A connection has an engine, and an asynchronous engine has a synchronous one.
    bind = getattr(bind, "engine", bind)
    engine = getattr(bind, "sync_engine", bind)
    return engine if isinstance(engine, Engine) else None


_published: WeakSet[type[Session]] = WeakSet()
"""The classes of sessions that are published."""


def session_class(sessions: Value) -> type[Session]:
    """Return the class of synchronous sessions whose events are those of a factory.

    Raises:
        ConfigurationError: if the sessions are published already: each event would come twice.
    """
    shared = _shared_class(sessions)
    is_own = shared is sessions
    if any(
        issubclass(shared, each) or (is_own and issubclass(each, shared)) for each in _published
    ):
        raise ConfigurationError(
            f"the sessions of {sessions!r} are published already, by this factory, by a base class "
            "or by a derived class: publish a factory once, to one bus"
        )
    # Other factories share the class of their sessions.
    chosen = shared if is_own else _derived(shared)
    _published.add(chosen)
    if is_own:
        return chosen
    if isinstance(sessions, sessionmaker):
        sessions.class_ = chosen
    elif hasattr(sessions, "configure"):
        sessions.configure(sync_session_class=chosen)
    else:
        asynchronous: Value = sessions
        asynchronous.sync_session_class = chosen
    return chosen


def _shared_class(sessions: Value) -> type[Session]:
    if is_async(sessions):
        asynchronous: Value = sessions if isinstance(sessions, type) else sessions.class_
        shared = _keywords(sessions).get("sync_session_class") or asynchronous.sync_session_class
    else:
        shared = sessions.class_ if isinstance(sessions, sessionmaker) else sessions
    chosen: type[Session] = shared
    return chosen


def _derived(shared: type[Session]) -> type[Session]:
    return type(shared.__name__, (BulkMethods, shared), {})
