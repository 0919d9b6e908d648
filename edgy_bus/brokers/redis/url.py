"""Read the URL of a Redis server, and refuse what this package cannot honour."""

import math
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from edgy_bus.errors import ConfigurationError

MOST_CONNECTIONS = 32
"""Connections with which an event loop makes calls, unless the URL allows fewer.

One of them is kept for the renewal of leases. A bell, which waits for news, has one more.
"""

_FEWEST_CONNECTIONS = 2

_MOST_DIGITS = 9
"""Digits of the longest number in a URL: Python refuses to read a number of thousands of digits."""

_SCHEMES = ("redis", "rediss", "unix")

_TLS = (
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
)
_PASSED_ON = ("client_name", "db", "socket_connect_timeout")
_LOGIN = ("username", "password")
_OURS = "max_connections"

# What the library sets itself, by the reason that its way of working depends on the setting.
_OWN_LIMITS = "edgy_bus limits the time of every call itself"
_OWN_REPEATS = "edgy_bus decides itself which calls are repeated"
_OWN_FORMAT = "edgy_bus reads replies as bytes, in one format"
_OWN_POOL = "edgy_bus manages its connections itself; max_connections bounds their number"
_REFUSED: Mapping[str, str] = {
    "socket_timeout": _OWN_LIMITS,
    "timeout": _OWN_LIMITS,
    "socket_keepalive": _OWN_POOL,
    "health_check_interval": _OWN_POOL,
    "single_connection_client": _OWN_POOL,
    "connection_class": _OWN_POOL,
    "retry": _OWN_REPEATS,
    "retry_on_timeout": _OWN_REPEATS,
    "retry_on_error": _OWN_REPEATS,
    "decode_responses": _OWN_FORMAT,
    "encoding": _OWN_FORMAT,
    "encoding_errors": _OWN_FORMAT,
    "legacy_responses": _OWN_FORMAT,
    "protocol": _OWN_FORMAT,
    "parser_class": _OWN_FORMAT,
    "socket_read_size": _OWN_FORMAT,
}


class _Kind(NamedTuple):
    """A kind of value: whether a text is such a value, and the words for it in an error."""

    fits: Callable[[str], bool]
    text: str


def _is_number(text: str) -> bool:
    # ASCII: other scripts have digits as well, and signs like ² that are digits but no numbers.
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _is_enough(text: str) -> bool:
    return _is_number(text) and int(text) >= _FEWEST_CONNECTIONS


def _is_time(text: str) -> bool:
    try:
        seconds = float(text)
    except ValueError:
        return False
    return math.isfinite(seconds) and seconds > 0


def _is_tls_version(text: str) -> bool:
    return _is_number(text) and int(text) in tuple(ssl.TLSVersion)


def _is_yes_or_no(text: str) -> bool:
    return text.lower() in ("yes", "no", "true", "false", "1", "0")


def _is_cert_reqs(text: str) -> bool:
    return text in ("none", "optional", "required")


# Checked here, because redis-py takes nan for a time and any word for "yes", and meets other wrong
# values at the first call only.
_KINDS: Mapping[str, _Kind] = {
    "db": _Kind(_is_number, "the number of a database, for example 0"),
    _OURS: _Kind(_is_enough, f"a number of at least {_FEWEST_CONNECTIONS}"),
    "socket_connect_timeout": _Kind(_is_time, "a number of seconds above 0"),
    "ssl_cert_reqs": _Kind(_is_cert_reqs, "none, optional or required"),
    "ssl_check_hostname": _Kind(_is_yes_or_no, "yes or no"),
    "ssl_min_version": _Kind(_is_tls_version, "the number of a TLS version, for example 771"),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Say where a server is, as redis-py reads it, and how many connections it gives.

    The repr shows neither: a URL may contain a password.
    """

    url: str
    connections: int

    def __repr__(self) -> str:
        return "Address(…)"


def read_url(url: str) -> Address:
    """Return the address in a URL.

    Raises:
        ConfigurationError: for a URL that is none, or has parameters that cannot be honoured. No
            part of the URL that may be a password is in the text, nor in another error behind it.
    """
    parts = _split(url)
    if parts is None:
        # Raised here, and not where the error of urllib is caught: its text quotes the URL.
        raise ConfigurationError(
            "this is not a Redis URL: the host or the port cannot be read. Write for example "
            "redis://user:password@localhost:6379/0. In a user or password, the characters "
            "/ ? # [ ] @ : and % are written in percent encoding, for example %2F for a slash"
        )
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in parameters.items():
        _check_name(name, tls=parts.scheme == "rediss", login=parts.scheme == "unix")
        _check_value(name, value)
    connections = min(int(parameters.pop(_OURS, MOST_CONNECTIONS)), MOST_CONNECTIONS)
    return Address(parts._replace(query=urlencode(parameters)).geturl(), connections)


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if they are not the parts of a Redis URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES:
        return None
    # A password with a slash, a question mark or a hash ends the host too early: the rest is then
    # a path, parameters or a fragment with the sign before the host.
    if parts.fragment or "@" in parts.query or not _is_path(parts):
        return None
    return parts if port != 0 else None


def _is_path(parts: SplitResult) -> bool:
    if parts.scheme == "unix":
        return bool(parts.path) and not parts.port
    number = parts.path.removeprefix("/")
    return number == "" or _is_number(number)


def _check_name(name: str, *, tls: bool, login: bool) -> None:
    known = (*_PASSED_ON, _OURS, *(_TLS if tls else ()), *(_LOGIN if login else ()))
    if name in known:
        return
    if name in _REFUSED:
        raise ConfigurationError(
            f"the parameter {name} of the Redis URL cannot be set: {_REFUSED[name]}. Remove it"
        )
    if name in _TLS:
        raise ConfigurationError(f"the parameter {name} of the Redis URL needs rediss://")
    near = get_close_matches(name, [*known, *_REFUSED], 1)
    # A name that resembles no parameter may be a part of a password.
    if not near:
        raise ConfigurationError(
            f"the Redis URL has an unknown parameter. The parameters are {', '.join(known)}. A "
            "question mark in a password is written as %3F"
        )
    raise ConfigurationError(
        f"the Redis URL has an unknown parameter. Did you mean {near[0]}? The parameters are "
        f"{', '.join(known)}"
    )


def _check_value(name: str, value: str) -> None:
    kind = _KINDS.get(name)
    # The text does not quote the value, which may be a part of a password.
    if kind is not None and not kind.fits(value):
        raise ConfigurationError(f"the parameter {name} of the Redis URL has to be {kind.text}")
