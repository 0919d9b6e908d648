"""The bell of the Redis broker."""

import asyncio
from collections.abc import Mapping

from edgy_bus.brokers.base import Bell, EntryId
from edgy_bus.brokers.redis.client import Client, make_client
from edgy_bus.brokers.redis.conversations import TIMEOUT, conversation
from edgy_bus.brokers.redis.keys import Keys
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition


class RedisBell(Bell):
    """Wait with a plain XREAD BLOCK on a connection of its own."""

    def __init__(self, url: str, keys: Keys, commands: Client) -> None:
        self._url = url
        self._keys = keys
        self._commands = commands
        self._reader: Client | None = None
        self._connection_id: int | None = None

    async def wait(self, positions: Mapping[Partition, EntryId], timeout: float) -> set[Partition]:
        streams = {self._keys.events(partition).encode(): partition for partition in positions}
        after = [str(position) for position in positions.values()]
        # XREAD takes nothing from a group, so an interrupted or cancelled wait loses nothing. Zero
        # milliseconds would block for ever.
        block = max(1, int(timeout * 1000))
        try:
            async with conversation(timeout + TIMEOUT):
                reader = await self._open()
                reply = await reader.execute_command(
                    "XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *streams, *after
                )
        except (BrokerError, asyncio.CancelledError):
            # The connection may still be blocked: a later reader would get this reply.
            await self.close()
            raise
        return {streams[name] for name, _ in reply or ()}

    async def interrupt(self) -> None:
        # The blocked connection accepts no command, so another connection ends the wait.
        if self._connection_id is not None:
            async with conversation():
                await self._commands.execute_command("CLIENT UNBLOCK", self._connection_id)

    async def close(self) -> None:
        reader, self._reader, self._connection_id = self._reader, None, None
        if reader is not None:
            await reader.aclose()

    async def _open(self) -> Client:
        if self._reader is None:
            self._reader = make_client(self._url, single=True)
            self._connection_id = int(await self._reader.execute_command("CLIENT ID"))
        return self._reader
