"""A Redis for a test: a running server, and a prefix of the test's own."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis

from edgy_bus.testing.servers import DEMO_ORDER, Server, Source, find_redis

SOURCES = {"any": DEMO_ORDER, "container": (Source.CONTAINER,)}
"""Values of the option `edgy_bus_redis`, and where they look for a server."""


@dataclass(frozen=True)
class RedisOfTest:
    """Hold what a bus needs to use the server: `Bus(redis.url, prefix=redis.prefix)`.

    Attributes:
        url: the URL of the server.
        prefix: begins the keys of this test. They are deleted when the test ends.
    """

    url: str = field(repr=False)
    prefix: str


def found(where: str) -> Server:
    """Return a server. Raises `ServerNotFound` with the places that were searched."""
    return find_redis(SOURCES[where])


@contextmanager
def cleaned(server: Server) -> Iterator[RedisOfTest]:
    """Hand out a prefix, and delete its keys at the end."""
    prefix = f"test-{secrets.token_hex(6)}"
    try:
        yield RedisOfTest(server.url, prefix)
    finally:
        # In pages: KEYS would keep a server that others use busy.
        with redis.Redis.from_url(server.url) as client:
            for key in client.scan_iter(match=f"{prefix}:*", count=1_000):
                client.unlink(key)
