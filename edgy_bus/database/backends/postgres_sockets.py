"""Set up the sockets of connections to PostgreSQL, and take sockets away from connections."""

import os
import socket
from typing import Any

import asyncpg

_IDLE = 15
"""Seconds without traffic after which the kernel probes a connection."""
_INTERVAL = 5
"""Seconds between probes."""
_COUNT = 3
"""Probes without an answer after which the kernel ends a connection."""
_UNANSWERED = 30_000
"""Milliseconds after which the kernel ends a connection whose data nobody acknowledges."""

_OPTIONS = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPALIVE": _IDLE,  # the name on macOS
    "TCP_KEEPINTVL": _INTERVAL,
    "TCP_KEEPCNT": _COUNT,
    "TCP_USER_TIMEOUT": _UNANSWERED,
}


def keep_alive(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Let the kernel notice a server that vanished, where the platform has the options."""
    # Without probes, a firewall or a failed host ends an idle connection without a word, and the
    # next statement waits for its whole time limit.
    plain = _socket(connection)
    if plain is None or plain.family not in (socket.AF_INET, socket.AF_INET6):
        return
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        option = getattr(socket, name, None)
        if option is not None:
            plain.setsockopt(socket.IPPROTO_TCP, option, value)


def take_socket_away(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """End this process's use of a connection without its event loop, and without a message.

    For connections of a closed event loop, and of the parent of a forked process.
    """
    # A socket that a child keeps open keeps the session and its locks at the server when the parent
    # crashes. The loop cannot close the socket: a parent's loop shares its epoll instance with the
    # child, and a closed loop does nothing. So the number of the socket gets another file.
    plain = _socket(connection)
    number = -1 if plain is None else plain.fileno()
    if number < 0:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nothing, number, inheritable=False)
    finally:
        os.close(nothing)


def _socket(connection: "asyncpg.Connection[asyncpg.Record]") -> Any:
    transport: Any = getattr(connection, "_transport", None)
    return None if transport is None else transport.get_extra_info("socket")
