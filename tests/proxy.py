"""Forward connections from a client to a server until a test shuts the proxy.

The client then sees a server that is unavailable, and later available again.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Forward bytes between a local port and a server.

    Args:
        url: the URL of the server. The property `url` is the same URL with the local port.
        is_open: whether the proxy accepts connections from the start.
    """

    def __init__(self, url: str, *, is_open: bool = True) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname or "localhost", parts.port or 6379
        self._parts = parts
        self._open = is_open
        self._port = 0
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = _set()
        self._trap: bytes | None = None
        self.silenced = 0

    @property
    def url(self) -> str:
        login, at, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}").geturl()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self.shut()

    def open(self) -> None:
        self._open = True

    def hold(self) -> None:
        """Connections stay, and nothing passes: neither side is told."""
        self._flowing.clear()

    def let_flow(self) -> None:
        self._flowing.set()

    def silence_next(self, words: bytes) -> None:
        """Let the next connection over which the client sends these bytes be silent from then on.

        Neither side learns of it, as when a firewall forgets a connection.
        """
        self._trap = words

    def forget(self) -> None:
        """Let nothing pass on the present connections from now on, as a firewall forgets them."""
        self._flowing.clear()
        self._flowing = _set()

    def retarget(self, url: str) -> None:
        """Lead new connections to another server."""
        parts = urlsplit(url)
        self._target = parts.hostname or "localhost", parts.port or 6379

    async def reset(self) -> None:
        """Answer every connection with RST."""
        for writer in self._writers:
            # A socket that is closed without a time to linger sends RST.
            linger = struct.pack("ii", 1, 0)
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        await self._cut()

    async def shut(self) -> None:
        """Cut every connection, and every new one at once."""
        self._open = False
        await self._cut()

    async def _cut(self) -> None:
        for task in tuple(self._passing):
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        self._writers.add(writer)
        try:
            if self._open:
                with suppress(OSError, asyncio.CancelledError):
                    await self._between(reader, writer)
        finally:
            self._passing.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        flowing = self._flowing
        ways = [
            asyncio.create_task(self._copy(reader, back, flowing)),
            asyncio.create_task(self._copy(there, writer, flowing)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before the wait below, which a cut may cancel while the connection ends by itself.
            back.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        flowing: asyncio.Event,
    ) -> None:
        while data := await source.read(65_536):
            await flowing.wait()
            if self._trap is not None and self._trap in data:
                self._trap = None
                self.silenced += 1
                await asyncio.Event().wait()  # until the connection is cut
            target.write(data)
            await target.drain()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event
