"""What a database URL says, checked once: which backend, where, and with which options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from edgy_bus.errors import ConfigurationError

SQLITE_TIMEOUT = 30.0
"""Seconds a SQLite connection waits for another one's write lock."""

_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_NOT_YET = ("mysql", "mariadb")


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL: the kind of database, the URL without its query, and the query's options as the driver takes them."""

    kind: str
    address: str
    options: Mapping[str, Any]
    schema: str | None = None
    uri: Mapping[str, str] = field(default_factory=dict)


def _ssl(value: str) -> bool | str:
    return {"true": True, "false": False}.get(value.lower(), value.lower())


_SQLITE_OPTIONS: dict[str, Callable[[str], Any]] = {"timeout": float, "cached_statements": int}
_SQLITE_URI = ("mode", "immutable", "vfs")
_POSTGRES_OPTIONS: dict[str, Callable[[str], Any]] = {
    "host": str,
    "min_size": int,
    "max_size": int,
    "ssl": _ssl,
    "sslmode": _ssl,
    "timeout": float,
    "command_timeout": float,
    "statement_cache_size": int,
    "application_name": str,
}


def parse(url: str) -> Target:
    """Read a database URL.

    Raises `ConfigurationError` for a scheme or an option that is not known; the message never holds the URL itself, because
    a URL may hold a password.
    """
    parts = _split(url)
    kind = _kind(parts.scheme)
    query = dict(parse_qsl(parts.query))
    address = urlunsplit((kind, parts.netloc, parts.path, "", ""))
    if kind == "sqlite":
        uri = {name: query.pop(name) for name in _SQLITE_URI if name in query}
        options = {"timeout": SQLITE_TIMEOUT} | _convert(query, _SQLITE_OPTIONS, also=_SQLITE_URI)
        # urlunsplit drops the empty host of "sqlite:///file", which databases needs to find the path.
        return Target(kind, f"sqlite://{parts.netloc}{parts.path}", options, uri=uri)
    schema = query.pop("schema", None)
    return Target(
        kind, address, _convert(query, _POSTGRES_OPTIONS, also=("schema",)), schema=schema
    )


def _split(url: str) -> SplitResult:
    """The parts of a URL. What Python says about a wrong one may show a part of the password, so it is not passed on."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigurationError(
            "the database URL is not well formed: a port is a number up to 65535, and in a name or a password the characters "
            "/ ? # [ ] @ are percent-encoded (%2F %3F %23 %5B %5D %40)"
        ) from None
    return parts


def _kind(scheme: str) -> str:
    base = scheme.split("+", 1)[0]
    if base in _NOT_YET:
        raise ConfigurationError(
            f"database scheme {scheme!r}: MySQL and MariaDB are not supported yet; use sqlite or postgresql"
        )
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"unknown database scheme {scheme!r}: the supported ones are sqlite://, postgresql:// and postgres://"
        )
    return _SCHEMES[scheme]


def _convert(
    query: Mapping[str, str], known: Mapping[str, Callable[[str], Any]], also: tuple[str, ...]
) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in query.items():
        if name not in known:
            names = ", ".join(sorted([*known, *also]))
            raise ConfigurationError(
                f"unknown option {name!r} in the database URL: the known ones are {names}"
            )
        try:
            options["ssl" if name == "sslmode" else name] = known[name](value)
        except ValueError as error:
            raise ConfigurationError(
                f"the database URL's option {name!r} does not take {value!r}"
            ) from error
    return options
