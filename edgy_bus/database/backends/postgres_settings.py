"""Turn a URL and options into arguments for asyncpg and time limits, once for a database."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from databases.core import DatabaseURL

from edgy_bus.database.url import Target
from edgy_bus.errors import ConfigurationError

CONNECT_TIMEOUT = 10.0
"""Seconds in which a new connection must be established."""

COMMAND_TIMEOUT = 30.0
"""Seconds that a statement may take."""

DEFINITION_TIMEOUT = 600.0
"""Seconds that a statement may take that changes tables: an index of a large table takes long."""

ACQUIRE_TIMEOUT = 30.0
"""Seconds that a task waits for a free connection."""

CLOSE_TIMEOUT = 10.0
"""Seconds that `disconnect` waits for connections in use and for the server."""

MAX_CONNECTIONS = 10
"""Connections of a pool: the default of asyncpg."""

MAX_IDLE = 300.0
"""Seconds after which an unused connection is closed."""

MAX_QUERIES = 50_000
"""Statements after which a connection is replaced."""

_POOL = (
    "min_size",
    "max_size",
    "init_size",
    "max_queries",
    "max_inactive_connection_lifetime",
    "setup",
    "init",
    "reset",
)
"""Arguments that only `asyncpg.create_pool` takes."""

Init = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold the settings of a database.

    Attributes:
        connection: arguments of `asyncpg.connect`.
        pool: further arguments of `asyncpg.create_pool`.
        schema: the schema of the URL; None for the server's default.
        acquire_timeout: seconds that a task waits for a free connection; None for no limit.
        close_timeout: seconds that `disconnect` may take.
        max_idle: seconds after which an unused connection is closed; 0 for never.
        max_queries: statements after which a connection is replaced.
        pgbouncer: whether a pgbouncer in transaction mode stands before the server; None if the
            URL says nothing.
    """

    connection: Mapping[str, Any]
    pool: Mapping[str, Any]
    schema: str | None
    acquire_timeout: float | None
    close_timeout: float | None
    max_idle: float
    max_queries: int
    pgbouncer: bool | None

    @property
    def max_connections(self) -> int:
        """Return the most connections of the pool."""
        size: int = self.pool.get("max_size", MAX_CONNECTIONS)
        return size

    @property
    def definition_timeout(self) -> float | None:
        """Return the seconds that a statement may take that changes tables; None for no limit."""
        ordinary: float | None = self.connection["command_timeout"]
        return None if ordinary is None else max(ordinary, DEFINITION_TIMEOUT)


def settings(url: DatabaseURL, target: Target, options: Mapping[str, Any]) -> Settings:
    """Return the settings of a database.

    Options of the URL's query have precedence over its address, so that `?host=` can name a socket
    directory, and arguments of `Database()` have precedence over the URL.

    Raises:
        ConfigurationError: for a schema together with pgbouncer.
    """
    chosen = {**target.options, **options}
    server: dict[str, object] = dict(chosen.pop("server_settings", {}))
    if "application_name" in chosen:
        server["application_name"] = chosen.pop("application_name")
    if target.schema is not None:
        server["search_path"] = quoted(target.schema)
    pgbouncer: bool | None = chosen.pop("pgbouncer", None)
    if pgbouncer:
        _suit_pgbouncer(chosen, target)
    limits = {
        "acquire_timeout": chosen.pop("acquire_timeout", ACQUIRE_TIMEOUT),
        "close_timeout": chosen.pop("close_timeout", CLOSE_TIMEOUT),
        "max_idle": chosen.get("max_inactive_connection_lifetime", MAX_IDLE),
        "max_queries": chosen.get("max_queries", MAX_QUERIES),
    }
    connection = {name: value for name, value in chosen.items() if name not in _POOL}
    address = {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database or None,
        "server_settings": server,
        "timeout": CONNECT_TIMEOUT,
        "command_timeout": COMMAND_TIMEOUT,
    }
    # No connection stays open for ever by default: one that idles for hours may be cut by a
    # firewall, which tells neither side.
    pool = {"min_size": 0} | {name: chosen[name] for name in _POOL if name in chosen}
    return Settings(address | connection, pool, schema=target.schema, pgbouncer=pgbouncer, **limits)


def _suit_pgbouncer(chosen: dict[str, Any], target: Target) -> None:
    # In transaction mode every transaction may run on another connection of the server.
    if target.schema is not None:
        raise ConfigurationError(
            "the database URL has schema= and pgbouncer=, but pgbouncer does not keep a search "
            "path: set it in the database, ALTER ROLE … IN DATABASE … SET search_path = …, and "
            "leave schema= out"
        )
    chosen["statement_cache_size"] = 0


def quoted(name: str) -> str:
    """Return a name in the form that PostgreSQL reads literally."""
    return '"' + name.replace('"', '""') + '"'
