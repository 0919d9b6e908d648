"""Read addresses: `9000`, `0.0.0.0:9000`, `[::1]:9000`."""

import os
import re
import socket
import weakref
from typing import NamedTuple

from edgy_bus.errors import ConfigurationError

# Nobody else's: metrics name groups, receivers and databases (docs/security.md).
LOOPBACK = "127.0.0.1"

_FORM = re.compile(r"(?:(?P<host>[^\[\]:/\s]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")


class Address(NamedTuple):
    """Where a server listens. Port 0 stands for any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str | int) -> Address:
    """Return the address of `[HOST:]PORT`.

    Raises:
        ConfigurationError: for another text.
    """
    form = _FORM.fullmatch(str(text))
    if form is None or int(form["port"]) > 65_535:
        raise ConfigurationError(
            f"{text!r} is no address for HTTP: write [HOST:]PORT, for example 9000, 0.0.0.0:9000 "
            "or [::1]:9000"
        )
    return Address((form["host"] or LOOPBACK).strip("[]"), int(form["port"]))


def listen(address: Address) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigurationError: if the address cannot be used, for example because it is taken.
    """
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"HTTP cannot be served at {address}: {error.strerror}. "
            "Choose another [HOST:]PORT, or end the program that listens there"
        ) from error
    _listening.add(listening)
    return listening


_listening: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_all() -> None:
    # A process that a receiver has forked may outlive the program, which needs the port at its next
    # start. Python closes these sockets by itself where a process runs another program.
    for listening in tuple(_listening):
        listening.close()


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_close_all)
