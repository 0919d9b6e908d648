"""Find the database of sessions, for the relay, by the URL of their engine."""

from sqlalchemy import URL, Engine

from edgy_bus.database import Database
from edgy_bus.database.url import parse
from edgy_bus.errors import ConfigurationError

_KINDS = ("postgresql", "sqlite")


def database_of(engine: Engine | None, database: Database | str | None) -> Database:
    """Return the database that the relay reads.

    Args:
        engine: the engine of the sessions, None if it is not known.
        database: the database, if the application gives one.

    Raises:
        ConfigurationError: if nothing says where the database is, or the relay cannot read it.
    """
    if database is not None:
        return database if isinstance(database, Database) else Database(database)
    if engine is None:
        raise ConfigurationError(
            "publish() does not know the database of these sessions: bind the factory to an "
            'engine, or give publish(…, database="postgresql://…")'
        )
    return Database(address_of(engine.url, "sessions"))


def address_of(url: URL, publishers: str) -> str:
    """Return the URL of a database for the relay.

    Args:
        url: the URL, with a driver of SQLAlchemy.
        publishers: what publishes from the database, for errors.

    Raises:
        ConfigurationError: if the relay cannot read the database.
    """
    kind = url.get_backend_name()
    if kind not in _KINDS:
        raise ConfigurationError(
            f"{publishers} on {kind} cannot publish: the outbox needs PostgreSQL or SQLite"
        )
    in_memory = url.database in (None, "", ":memory:") or "memory" in url.query.values()
    if kind == "sqlite" and in_memory:
        raise ConfigurationError(
            f"{publishers} on a SQLite database in memory cannot publish: the relay reads the "
            "outbox on a connection of its own. Use a file"
        )
    address = url.set(drivername=kind).render_as_string(hide_password=False)
    try:
        parse(address)
    except ConfigurationError as error:
        # The options of drivers differ.
        raise ConfigurationError(
            f"the relay cannot use the URL of the database ({error}): give publish(…, database=…)"
        ) from None
    return address


def same_place(first: URL, second: URL) -> bool:
    """Return whether two URLs name the same database."""
    return _place(first) == _place(second)


# Drivers, users and options may differ.
def _place(url: URL) -> tuple[object, ...]:
    return url.get_backend_name(), url.host, url.port, url.database
