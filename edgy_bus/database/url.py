"""Parse a database URL once: the kind of database, its address, and its options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from edgy_bus.errors import ConfigurationError

SQLITE_TIMEOUT = 30.0
"""Seconds that a SQLite connection waits for the write lock of another connection."""

_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_NOT_YET = ("mysql", "mariadb")


@dataclass(frozen=True, slots=True)
class Target:
    """Hold a checked URL.

    Attributes:
        kind: `sqlite` or `postgresql`.
        address: the URL without its query.
        options: the options of the query, with the names and types of the driver.
        schema: the PostgreSQL schema, None for the server's default.
        uri: options that SQLite reads from a `file:` URI.
    """

    kind: str
    address: str
    options: Mapping[str, object]
    schema: str | None = None
    uri: Mapping[str, str] = field(default_factory=dict)


def _ssl(value: str) -> bool | str:
    return {"true": True, "false": False}.get(value.lower(), value.lower())


def _seconds(value: str) -> float | None:
    """Read a time limit; `none` stands for no limit."""
    return None if value.lower() == "none" else float(value)


def _flag(value: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[value.lower()]


_Converter = Callable[[str], object]

_SQLITE_OPTIONS: dict[str, _Converter] = {"timeout": float, "cached_statements": int}
_SQLITE_URI = ("mode", "immutable", "vfs")
_POSTGRES_OPTIONS: dict[str, _Converter] = {
    "host": str,
    "min_size": int,
    "max_size": int,
    "ssl": _ssl,
    "sslmode": _ssl,
    "timeout": float,
    "command_timeout": _seconds,
    "acquire_timeout": _seconds,
    "close_timeout": _seconds,
    "max_inactive_connection_lifetime": float,
    "max_queries": int,
    "pgbouncer": _flag,
    "statement_cache_size": int,
    "application_name": str,
}


def parse(url: str) -> Target:
    """Parse a database URL.

    Raises:
        ConfigurationError: for an unknown scheme or option. The message never contains the URL,
            because a URL can contain a password.
    """
    parts = _split(url)
    kind = _kind(parts.scheme)
    query = dict(parse_qsl(parts.query))
    if kind == "sqlite":
        return _sqlite_target(parts, query)
    address = urlunsplit((kind, parts.netloc, parts.path, "", ""))
    schema = query.pop("schema", None)
    options = _convert(query, _POSTGRES_OPTIONS, also=("schema",))
    return Target(kind, address, options, schema=schema)


def _sqlite_target(parts: SplitResult, query: dict[str, str]) -> Target:
    if parts.netloc:
        # Python takes what follows two slashes for a host, and the database would be in memory.
        raise ConfigurationError(
            "the URL of a SQLite file has three slashes, sqlite:///app.sqlite, or four before an "
            "absolute path"
        )
    uri = {name: query.pop(name) for name in _SQLITE_URI if name in query}
    options = {"timeout": SQLITE_TIMEOUT} | _convert(query, _SQLITE_OPTIONS, also=_SQLITE_URI)
    # Not urlunsplit, which drops the empty host of "sqlite:///file": `databases` would then take
    # the file for a host and find no path.
    return Target("sqlite", f"sqlite://{parts.netloc}{parts.path}", options, uri=uri)


def _split(url: str) -> SplitResult:
    """Split a URL; raise `ConfigurationError` for a malformed URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # `from None`: Python's text about a malformed URL can show a part of the password.
        raise ConfigurationError(
            "the database URL is not well formed: a port is a number up to 65535, and in a name "
            "or a password the characters / ? # [ ] @ are percent-encoded (%2F %3F %23 %5B %5D "
            "%40)"
        ) from None
    return parts


def _kind(scheme: str) -> str:
    base = scheme.split("+", 1)[0]
    if base in _NOT_YET:
        raise ConfigurationError(
            f"database scheme {scheme!r}: MySQL and MariaDB are not supported yet; "
            "use sqlite or postgresql"
        )
    if not scheme:
        raise ConfigurationError(
            "the database URL has no scheme: write sqlite:///FILE, or "
            "postgresql://USER:PASSWORD@HOST:5432/NAME"
        )
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"unknown database scheme {scheme!r}: the supported ones are sqlite://, "
            "postgresql:// and postgres://"
        )
    return _SCHEMES[scheme]


def _convert(
    query: Mapping[str, str], converters: Mapping[str, _Converter], also: tuple[str, ...]
) -> dict[str, object]:
    """Convert the options of a query; `also` names further valid options, for the error's text."""
    options: dict[str, object] = {}
    for name, value in query.items():
        if name not in converters:
            names = ", ".join(sorted([*converters, *also]))
            raise ConfigurationError(
                f"unknown option {name!r} in the database URL: the known ones are {names}"
            )
        try:
            options["ssl" if name == "sslmode" else name] = converters[name](value)
        except (ValueError, KeyError):
            raise ConfigurationError(
                f"the database URL's option {name!r} does not take {value!r}"
            ) from None
    return options
