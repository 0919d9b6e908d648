"""Lua scripts: loaded by their text, called by their digest, answered by named fields."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.exceptions import NoScriptError

from edgy_bus.brokers.redis.client import Argument, Client
from edgy_bus.brokers.redis.conversations import (
    Conversations,
    conversation,
    limit,
    translating,
)

Call = tuple[Sequence[str], Sequence[Argument]]
"""The keys and arguments of a call."""

REFUSED = b"refused"
"""The field of an answer that contains the reason of a refusal."""


class Answer(dict[bytes, Any]):
    """The named fields of a script's answer. The header of the script lists the fields."""

    @classmethod
    def read(cls, reply: Sequence[Any]) -> "Answer":
        """Return the answer that a script's flat list of names and values spells."""
        # RESP2 has no maps: a script can only return a list.
        parts = iter(reply)
        return cls(zip(parts, parts, strict=True))

    @property
    def refusal(self) -> bytes | None:
        """Return the reason for which the script did nothing, or None if the script acted."""
        return self.get(REFUSED)


class Scripts:
    """Call the Lua files of this package."""

    def __init__(self, client: Client, conversations: Conversations) -> None:
        self._client = client
        self._conversations = conversations
        self._loaded: set[str] = set()

    async def call(
        self, name: str, keys: Sequence[str], arguments: Sequence[Argument] = ()
    ) -> Answer:
        """Run one script."""
        # `Conversations.turn` spelled out: each call would pay for a generator.
        with translating:
            async with limit(), self._conversations.free:
                replies = await self._evaluate(name, [(keys, arguments)])
        return Answer.read(replies[0])

    async def call_all(self, name: str, calls: Sequence[Call]) -> list[Answer]:
        """Run one script many times in one conversation. Only for calls that may be repeated."""
        # No turn: leases must be renewed in time while slow conversations take all turns.
        async with conversation():
            replies = await self._evaluate(name, calls)
        return [Answer.read(reply) for reply in replies]

    async def _evaluate(self, name: str, calls: Sequence[Call]) -> list[Any]:
        commands = _commands(_script(name).digest, calls)
        if name not in self._loaded:
            await self._load(name)
        try:
            return await self._converse(commands)
        except NoScriptError:
            # A restarted server, or a failover. The server ran nothing of this call. Of `call_all`
            # some calls may have run, which is why they must be repeatable.
            await self._load(name)
            return await self._converse(commands)

    async def _converse(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed commands on a connection of the pool, and return the replies."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()
        replies: list[Any] = []
        try:
            await connection.send_packed_command(commands)
            for _ in commands:
                replies.append(await connection.read_response())
        finally:
            # redis-py disconnects when a send or a read is interrupted, so that no other caller
            # reads these replies. After an error reply, later replies would stay on the connection.
            if len(replies) + 1 < len(commands):
                await connection.disconnect(nowait=True)
            await pool.release(connection)
        return replies

    async def _load(self, name: str) -> None:
        await self._client.execute_command("SCRIPT LOAD", _script(name).text)
        self._loaded.add(name)


def _commands(digest: str, calls: Sequence[Call]) -> list[bytes]:
    """Pack EVALSHA commands."""
    # redis-py packs argument by argument, which costs more than the rest of a call.
    commands = []
    for keys, arguments in calls:
        command = ("EVALSHA", digest, len(keys), *keys, *arguments)
        # The annotation of hiredis allows a tuple of one argument only.
        commands.append(pack_command(command))  # type: ignore[arg-type]
    return commands


class _Script(NamedTuple):
    text: str
    digest: str


@cache
def _script(name: str) -> _Script:
    text = resources.files(__package__).joinpath("lua", f"{name}.lua").read_text("utf-8")
    # Redis names a script by this digest of its text; nothing relies on its strength.
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return _Script(text, digest)


def pairs(flat: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """Return a flat list of alternating names and values as a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
