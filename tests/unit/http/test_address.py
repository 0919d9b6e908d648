"""Addresses of `--http`: their forms, and the errors of those that cannot be used."""

import socket
import subprocess
import sys

import pytest

from edgy_bus.errors import ConfigurationError
from edgy_bus.http.address import Address, listen, parse


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("9000", Address("127.0.0.1", 9000), "127.0.0.1:9000"),
        (9000, Address("127.0.0.1", 9000), "127.0.0.1:9000"),
        ("0.0.0.0:80", Address("0.0.0.0", 80), "0.0.0.0:80"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        ("[::1]:9000", Address("::1", 9000), "[::1]:9000"),
    ],
)
def test_an_address_has_a_port_and_perhaps_a_host(
    text: str | int, address: Address, shown: str
) -> None:
    assert parse(text) == address
    assert str(address) == shown


@pytest.mark.parametrize("text", ["", "host", ":9000", "::1:9000", "h:1:2", "70000", "http://h:1"])
def test_another_text_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write \[HOST:\]PORT"):
        parse(text)


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: Address already in use"):
            listen(Address("127.0.0.1", port))
    with listen(Address("127.0.0.1", 0)) as free:
        assert free.getsockname()[1] > 0


FORKS = """
import os, signal, sys, time
from edgy_bus.http.address import Address, listen
first = listen(Address("127.0.0.1", 0))
port = first.getsockname()[1]
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, b"x")
    time.sleep(60)
os.read(reading, 1)
first.close()
try:
    listen(Address("127.0.0.1", port))
finally:
    os.kill(child, signal.SIGKILL)
"""


def test_a_process_that_was_forked_does_not_keep_the_port() -> None:
    subprocess.run([sys.executable, "-c", FORKS], check=True, timeout=60)
