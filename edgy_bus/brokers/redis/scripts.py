"""Calls: Lua scripts by their digest, answered by named fields, and single commands."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError, ResponseError

from edgy_bus import telemetry
from edgy_bus.brokers.redis.connections import (
    Argument,
    Attempt,
    Command,
    Connections,
    pack,
)
from edgy_bus.brokers.redis.conversations import (
    Conversations,
    Translating,
    conversation,
    limit,
)
from edgy_bus.brokers.redis.encoding import text_of
from edgy_bus.brokers.redis.failures import Failure, classify, translate
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.errors import BrokerError
from edgy_bus.telemetry import catalogue

Call = tuple[Sequence[Key], Sequence[Argument]]
"""The keys and arguments of a call."""

REFUSED = b"refused"
"""The field of an answer that contains the reason of a refusal."""


_DISPLACE = "displace"

_OF_ONE_CALL = (Failure.CREDENTIALS, Failure.NO_RIGHT, Failure.WRONG_TYPE, Failure.OTHER)
"""Errors that may concern one of several calls alone, for example because of its key."""


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
    """Call the Lua files of this package, and commands of the server."""

    def __init__(self, connections: Connections, conversations: Conversations) -> None:
        self._connections = connections
        self._conversations = conversations
        self._loaded: set[str] = set()

    async def call(
        self, name: str, keys: Sequence[Key], arguments: Sequence[Argument] = ()
    ) -> Answer:
        """Run one script."""
        # `Conversations.turn` spelled out: each call would pay for a generator.
        with Translating() as attempt:
            async with limit(), self._conversations.free:
                replies = await self._evaluate(name, [(keys, arguments)], attempt)
        return Answer.read(replies[0])

    async def call_all(self, name: str, calls: Sequence[Call]) -> list[Answer]:
        """Run one script many times in one conversation. Only for calls that may be repeated."""
        # No turn, as for `call_each`.
        async with conversation() as attempt:
            replies = await self._evaluate(name, calls, attempt)
        return [Answer.read(reply) for reply in replies]

    async def call_each(self, name: str, calls: Sequence[Call]) -> list[Answer | BrokerError]:
        """Run one script many times, as `call_all` does.

        Returns:
            For each call its answer, or the error that concerns this call alone.
        """
        # No turn: leases must be renewed in time while slow conversations take all turns.
        async with conversation() as attempt:
            try:
                replies = await self._evaluate(name, calls, attempt)
            except ResponseError as error:
                if classify(error) not in _OF_ONE_CALL:
                    raise
                # A key that an ACL forbids must not cost the leases of all other keys.
                commands = _commands(_script(name).digest, calls)
                replies = await self._connections.exchange(commands, attempt, keep_errors=True)
        return [_answer_or_error(reply) for reply in replies]

    async def ask(
        self, commands: Sequence[Command], keys: Sequence[Key] = (), timeout: float | None = None
    ) -> list[Any]:
        """Send commands together, and return their replies.

        Args:
            commands: commands that may be repeated.
            keys: the keys of the commands. A value of another type is moved away.
            timeout: seconds that the conversation may take.
        """
        packed = [pack(command) for command in commands]
        async with self._conversations.turn(timeout) as attempt:
            try:
                return await self._connections.exchange(packed, attempt)
            except ResponseError as error:
                if not keys or classify(error) is not Failure.WRONG_TYPE:
                    raise
                await self._displace(keys, error)
                return await self._connections.exchange(packed, attempt)

    async def _evaluate(self, name: str, calls: Sequence[Call], attempt: Attempt) -> list[Any]:
        commands = _commands(_script(name).digest, calls)
        if name not in self._loaded:
            await self._load(name)
        try:
            return await self._connections.exchange(commands, attempt)
        except NoScriptError:
            # A restarted server, or a failover. The server ran nothing of this call. Of `call_all`
            # some calls may have run, which is why they must be repeatable.
            attempt.sent = False
            await self._load(name)
        except ResponseError as error:
            # Every script reads a key before it writes to the key, and nothing that it wrote to
            # other keys until then is wrong when it runs again.
            if classify(error) is not Failure.WRONG_TYPE:
                raise
            await self._displace([key for keys, _ in calls for key in keys], error)
        return await self._connections.exchange(commands, attempt)

    async def _displace(self, keys: Sequence[Key], error: ResponseError) -> None:
        """Move values of another type away, and report them.

        Raises `error`, which a command met, to a user that may only look.
        """
        # A name of its own for every value: a second value must not take the place of the first.
        suffix = f":foreign:{secrets.token_hex(4)}"
        pairs = [name for key in keys for name in (key, key + suffix)]
        commands = _commands(_script(_DISPLACE).digest, [(pairs, [key.kind for key in keys])])
        try:
            await self._load(_DISPLACE)
            (reply,) = await self._connections.exchange(commands, Attempt())
        except ResponseError:
            raise error from None
        moved = [text_of(part) for part in Answer.read(reply)[b"moved"]]
        for key, name, kind in zip(moved[::3], moved[1::3], moved[2::3], strict=True):
            telemetry.emit(catalogue.BrokerForeign(key=key, type=kind, moved=name))

    async def _load(self, name: str) -> None:
        command = pack(("SCRIPT", "LOAD", _script(name).text))
        await self._connections.exchange([command], Attempt())
        self._loaded.add(name)


def _answer_or_error(reply: Any) -> Answer | BrokerError:
    error = translate(reply) if isinstance(reply, ResponseError) else None
    return Answer.read(reply) if error is None else error


def _commands(
    digest: str, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]]
) -> list[bytes]:
    """Pack EVALSHA commands."""
    return [pack(("EVALSHA", digest, len(keys), *keys, *arguments)) for keys, arguments in calls]


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
