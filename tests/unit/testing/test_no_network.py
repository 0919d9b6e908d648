"""Test the guard of `tests/unit/conftest.py`, which keeps unit tests free of servers."""

import asyncio
import socket

import pytest


def test_a_connection_fails_the_test():
    with socket.socket() as probe, pytest.raises(pytest.fail.Exception, match=r"tests/integration"):
        probe.connect(("127.0.0.1", 1))


async def test_a_connection_through_asyncio_fails_the_test():
    with pytest.raises(pytest.fail.Exception, match=r"tests/integration"):
        await asyncio.open_connection("127.0.0.1", 1)
