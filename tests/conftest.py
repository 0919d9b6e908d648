"""Find the servers of a test session, and give every test a separate namespace on the servers.

The first test that needs a server (or the report header) starts the search, in `TEST_ORDER`. If no
server is found, the tests that need the server skip. These tests fail instead if `CI` is set, or if
the environment names a server that does not answer. Tests never share data: each test has a key
prefix on Redis, a schema on PostgreSQL, or a file for SQLite.
"""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from edgy_bus.errors import ServerNotFound
from edgy_bus.testing.servers import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    TEST_ORDER,
    Server,
    find_postgresql,
    find_redis,
    postgres_execute,
)

if TYPE_CHECKING:
    from edgy_bus.database import Database

# A background job of a script ignores Ctrl-C, and programs that a test starts would inherit that:
# they would not end when the test sends the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)

_FINDERS = {"redis": find_redis, "postgresql": find_postgresql}
_VARIABLES = {"redis": REDIS_VARIABLE, "postgresql": POSTGRES_VARIABLE}


class Servers:
    """Find the servers of this session, and remember the result, including a failed search."""

    def __init__(self) -> None:
        self._found: dict[str, Server | ServerNotFound] = {}

    def look_for(self, kind: str) -> Server | ServerNotFound:
        if kind not in self._found:
            try:
                self._found[kind] = _FINDERS[kind](TEST_ORDER)
            except ServerNotFound as reason:
                self._found[kind] = reason
        return self._found[kind]

    def require(self, kind: str) -> Server:
        """Return the server; skip or fail the test if no server is found."""
        found = self.look_for(kind)
        if isinstance(found, Server):
            return found
        if os.environ.get("CI") or os.environ.get(_VARIABLES[kind]):
            pytest.fail(str(found), pytrace=False)
        pytest.skip(str(found))

    def describe(self, kind: str) -> str:
        found = self.look_for(kind)
        return f"{kind}: {found.origin if isinstance(found, Server) else f'none. {found}'}"

    def stop(self) -> None:
        for found in self._found.values():
            if isinstance(found, Server):
                found.stop()


_servers = pytest.StashKey[Servers]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_servers] = Servers()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[_servers].stop()


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which servers are used, unless only unit tests were asked for, which use none."""
    unit = Path(__file__).parent / "unit"
    paths = [
        (config.invocation_params.dir / argument.split("::")[0]).resolve()
        for argument in config.args
    ]
    if config.option.collectonly or all(path.is_relative_to(unit) for path in paths):
        return []
    return [config.stash[_servers].describe(kind) for kind in _FINDERS]


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_servers].require("redis")


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Server:
    return pytestconfig.stash[_servers].require("postgresql")


@pytest.fixture
def redis_url(redis_server: Server) -> str:
    return redis_server.url


@pytest.fixture
def prefix(redis_url: str) -> Iterator[str]:
    """A key prefix of the test's own: whatever is below it afterwards is deleted."""
    name = f"t-{secrets.token_hex(6)}"
    yield name
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{name}:*", count=1_000):
            client.unlink(key)


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """A URL with a schema of the test's own, which is dropped afterwards."""
    url, schema = postgres_server.url, f"t_{secrets.token_hex(6)}"
    postgres_execute(url, f"CREATE SCHEMA {schema}")
    yield f"{url}{'&' if '?' in url else '?'}schema={schema}"
    # A process that a test killed may hold its locks for a moment longer.
    postgres_execute(url, "SET lock_timeout = '10s'", f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.sqlite'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every test that uses it runs on both databases."""
    url: str = request.getfixturevalue(
        "sqlite_url" if request.param == "sqlite" else "postgres_url"
    )
    return url


@pytest.fixture
async def database(database_url: str) -> "AsyncIterator[Database]":
    from edgy_bus.database import Database

    database = Database(database_url)
    await database.connect()
    yield database
    await database.disconnect()
