"""Forbid network access in unit tests: a connection fails at once, except a local socket pair."""

import socket
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of asyncio and of redis-py end up in these two methods; libraries in C do not."""
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))


def _guarded(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        return connect(self, address) if self.family == socket.AF_UNIX else _refuse(address)

    return guarded


def _refuse(address: object) -> NoReturn:
    pytest.fail(f"a unit test connects to {address}: it belongs in tests/integration")
