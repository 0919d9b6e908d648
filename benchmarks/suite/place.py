"""The servers of a run, with key prefixes and schemas that no other program uses."""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import redis

from benchmarks.suite.internals import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    Server,
    find_postgresql,
    find_redis,
    postgres_execute,
)

sys.path.append(str(Path(__file__).parents[1] / "peers"))

from peer import event

ROOT = Path(__file__).parents[2]
SERVICE, MODEL = "bench", "User"


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows of our model without their keys; with a key, a row is `SIZE` bytes of JSON."""
    events = [event(number) for number in range(count)]
    for row in events:
        del row["id"]
    return events


def postgres_value(url: str, query: str) -> Any:
    """Return the single value of a query. Opens a connection; not for use in an event loop."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close(timeout=5)

    return asyncio.run(ask())


def payload(number: int) -> bytes:
    """Return the event as bytes, for contenders that write entries by hand."""
    return json.dumps(event(number), separators=(",", ":")).encode()


async def connect(url: str) -> Any:
    """Open a raw connection to the schema of `Place.schema`'s URL."""
    address, _, schema = url.rpartition("schema=")
    return await asyncpg.connect(address.rstrip("?&"), server_settings={"search_path": schema})


@dataclass
class Place:
    """Every key contains the token, and every schema begins with the token."""

    redis: Server
    postgres: Server
    token: str
    folder: Path

    def prefix(self, name: str) -> str:
        return f"{self.token}-{name}"

    def schema(self, name: str) -> str:
        """Create a schema and return its URL."""
        schema = f"{self.token}_{name}".replace("-", "_").lower()
        postgres_execute(self.postgres.url, f"CREATE SCHEMA {schema}")
        url = self.postgres.url
        return f"{url}{'&' if '?' in url else '?'}schema={schema}"

    def drop(self, url: str) -> None:
        """Drop a schema. Waits for the locks of a process that has just ended."""
        schema = url.rpartition("schema=")[2]
        postgres_execute(
            self.postgres.url, "SET lock_timeout = '30s'", f"DROP SCHEMA IF EXISTS {schema} CASCADE"
        )

    def clear(self, name: str = "") -> None:
        """Remove every key of a prefix, or of the run. The server frees streams in background."""
        pattern = f"*{self.prefix(name)}*" if name else f"*{self.token}*"
        with redis.Redis.from_url(self.redis.url) as client:
            batch: list[Any] = []
            for key in client.scan_iter(match=pattern, count=5_000):
                batch.append(key)
                if len(batch) == 5_000:
                    client.unlink(*batch)
                    batch.clear()
            if batch:
                client.unlink(*batch)


@contextmanager
def place(redis_url: str | None = None, postgres_url: str | None = None) -> Iterator[Place]:
    """Find servers by URL, else in the order of the demo: the environment, localhost, a binary,
    a wheel. Removes all keys and schemas of the run at the end."""
    with contextlib.ExitStack() as stack:
        for variable, url in ((REDIS_VARIABLE, redis_url), (POSTGRES_VARIABLE, postgres_url)):
            if url:
                os.environ[variable] = url
        servers = stack.enter_context(find_redis()), stack.enter_context(find_postgresql())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgy-bus-bench-")))
        where = Place(*servers, f"bench{secrets.token_hex(4)}", folder)
        stack.callback(_drop_schemas, where)
        stack.callback(where.clear)
        yield where


def _drop_schemas(where: Place) -> None:
    names = f"SELECT nspname FROM pg_namespace WHERE nspname LIKE '{where.token}%'"
    drop = "EXECUTE format('DROP SCHEMA %I CASCADE', name)"
    postgres_execute(
        where.postgres.url,
        f"DO $$ DECLARE name text; BEGIN FOR name IN {names} LOOP {drop}; END LOOP; END $$",
    )
