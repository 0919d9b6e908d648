"""Find the sessions that a factory makes: their class, their engine, and their way of waiting."""

import sys

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from edgy_bus.errors import ConfigurationError
from edgy_bus.integrations.sqlalchemy.sessions import NO_TWO_PHASES
from edgy_bus.sources import Value


def is_async(sessions: object) -> bool:
    """Return whether a factory makes sessions of `sqlalchemy.ext.asyncio`."""
    # Looked up, because an import fails where greenlet is not installed. Whoever has such a factory
    # has imported the module.
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
    """Return the keywords of the sessions that a factory makes; a class has none."""
    keywords: dict[str, Value] = getattr(sessions, "kw", {})
    return keywords


def engine_of(sessions: object) -> Engine | None:
    """Return the synchronous engine of a factory; None if the factory has no engine."""
    bind = _keywords(sessions).get("bind")
    # A connection has an engine, and an asynchronous engine has a synchronous one.
    bind = getattr(bind, "engine", bind)
    engine = getattr(bind, "sync_engine", bind)
    return engine if isinstance(engine, Engine) else None


def session_class(sessions: Value) -> type[Session]:
    """Return the class of synchronous sessions whose events are those of a factory."""
    if not is_async(sessions):
        chosen: type[Session] = sessions.class_ if isinstance(sessions, sessionmaker) else sessions
        return chosen
    is_class = isinstance(sessions, type)
    asynchronous = sessions if is_class else sessions.class_
    shared = _keywords(sessions).get("sync_session_class") or asynchronous.sync_session_class
    # A class of this factory alone: other factories share the class of their sessions.
    derived: type[Session] = type(shared.__name__, (shared,), {})
    if is_class:
        sessions.sync_session_class = derived
    else:
        sessions.configure(sync_session_class=derived)
    return derived
