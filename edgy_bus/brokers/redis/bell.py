"""The bell of the Redis broker."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import ResponseError

from edgy_bus.brokers.base import Bell, EntryId
from edgy_bus.brokers.redis.connections import Command, Connection, Connections, pack
from edgy_bus.brokers.redis.conversations import TIMEOUT, conversation
from edgy_bus.brokers.redis.failures import Failure, classify
from edgy_bus.brokers.redis.keys import Keys
from edgy_bus.brokers.redis.limits import Limits
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.services import happens

_WITHOUT_INTERRUPT = 0.5
"""Seconds that a wait takes at most if it cannot be interrupted: later streams wait as long."""

_BETWEEN_LOOKS = 0.2
"""Seconds between two looks at streams that no single command can wait for."""


class RedisBell(Bell):
    """Wait with a plain XREAD BLOCK on a connection of its own."""

    def __init__(self, connections: Connections, keys: Keys, limits: Limits) -> None:
        self._connections = connections
        self._keys = keys
        self._limits = limits
        self._connection: Connection | None = None
        self._connection_id: int | None = None
        self._generation = 0
        self._can_span = True
        """Whether one command may read the streams of several partitions."""
        self._interrupted = asyncio.Event()

    async def wait(
        self, positions: Mapping[Partition, EntryId], timeout: float
    ) -> dict[Partition, EntryId]:
        streams = {self._keys.events(partition).encode(): partition for partition in positions}
        after = [str(position) for position in positions.values()]
        self._interrupted.clear()
        try:
            async with conversation(timeout + TIMEOUT):
                connection = await self._open()
                if self._can_span:
                    ringing = await self._block(connection, list(streams), after, timeout)
                else:
                    ringing = await self._look(connection, list(streams), after, timeout)
        except (BrokerError, asyncio.CancelledError):
            # The connection may still be blocked: a later reader would get this reply.
            await self.close()
            raise
        return {streams[name]: entry for name, entry in ringing.items()}

    async def interrupt(self) -> None:
        self._interrupted.set()
        # The blocked connection accepts no command, so another connection ends the wait.
        if self._connection_id is not None:
            command = pack(("CLIENT", "UNBLOCK", self._connection_id))
            async with conversation() as attempt:
                await self._connections.exchange([command], attempt)

    async def close(self) -> None:
        connection, self._connection, self._connection_id = self._connection, None, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._connections.put_back(connection)

    async def _open(self) -> Connection:
        if self._generation != self._connections.generation:
            # The address leads to another server now, and this connection to the old one.
            await self.close()
        if self._connection is None:
            self._generation = self._connections.generation
            self._connection = await self._connections.take()
            self._connection_id = await self._id_of(self._connection)
        return self._connection

    async def _id_of(self, connection: Connection) -> int | None:
        """Return the number by which another connection can end a wait, if the server has it."""
        try:
            (number,) = await self._connections.converse(connection, [pack(("CLIENT", "ID"))])
        except ResponseError:
            self._limits.report(
                "CLIENT", f"a stream that becomes idle may wait {_WITHOUT_INTERRUPT} s for news"
            )
            return None
        return int(number)

    async def _block(
        self,
        connection: Connection,
        streams: Sequence[bytes],
        after: Sequence[str],
        timeout: float,
    ) -> dict[bytes, EntryId]:
        """Return the streams with news, after a wait at the server."""
        if self._connection_id is None:
            timeout = min(timeout, _WITHOUT_INTERRUPT)
        # XREAD takes nothing from a group, so an interrupted or cancelled wait loses nothing. Zero
        # milliseconds would block for ever.
        block = max(1, int(timeout * 1000))
        command: Command = ("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", *streams, *after)
        try:
            (reply,) = await self._connections.converse(connection, [pack(command)])
        except ResponseError as error:
            if classify(error) is not Failure.CLUSTER or len(streams) == 1:
                raise
            self._can_span = False
            self._limits.report(
                "XREAD of several partitions (CROSSSLOT)", f"news come after {_BETWEEN_LOOKS} s"
            )
            return {}
        return _news_of(reply)

    async def _look(
        self,
        connection: Connection,
        streams: Sequence[bytes],
        after: Sequence[str],
        timeout: float,
    ) -> dict[bytes, EntryId]:
        """Return the streams with news, after looks at each stream."""
        commands: list[Command] = [
            ("XREAD", "COUNT", 1, "STREAMS", stream, position)
            for stream, position in zip(streams, after, strict=True)
        ]
        packed = [pack(command) for command in commands]
        until = asyncio.get_running_loop().time() + timeout
        while True:
            replies = await self._connections.converse(connection, packed)
            ringing: dict[bytes, EntryId] = {}
            for reply in replies:
                ringing |= _news_of(reply)
            left = until - asyncio.get_running_loop().time()
            if ringing or left <= 0 or await happens(self._interrupted, min(left, _BETWEEN_LOOKS)):
                return ringing


def _news_of(reply: Any) -> dict[bytes, EntryId]:
    """Return the streams in a reply of XREAD COUNT 1, each with its entry."""
    return {name: EntryId.parse(entry) for name, [(entry, _)] in reply or ()}
