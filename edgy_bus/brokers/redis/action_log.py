"""The log of actions on Redis: one stream that keeps its newest entries."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import ACTIONS, ActionEntry, ActionLog, EntryId
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import read_fields, text_of

_NAMES = ("operator", "action", "group", "receiver", "choice", "result")


class RedisActionLog(RedisCore, ActionLog):
    """Append to a stream, which the server trims in whole nodes of 100 entries."""

    async def record(self, entry: ActionEntry) -> None:
        fields: list[Argument] = ["count", entry.count]
        for name in _NAMES:
            # Words of an operator may contain lone surrogates, which UTF-8 cannot encode.
            fields += (name, str(getattr(entry, name)).encode("utf-8", "replace"))
        # Exact trimming would cost the server a walk through a node for every action.
        await self._ask("XADD", self.keys.actions(), "MAXLEN", "~", ACTIONS, "*", *fields)

    async def actions(self, count: int = ACTIONS) -> Sequence[tuple[float, ActionEntry]]:
        # The whole stream: an observer has no right to XREVRANGE.
        entries = await self._ask("XRANGE", self.keys.actions(), "-", "+")
        return [
            (EntryId.parse(entry).ms / 1000, _entry_of(read_fields(fields)))
            for entry, fields in entries[-count:]
        ]


def _entry_of(fields: Mapping[bytes, bytes]) -> ActionEntry:
    """Read an action. An entry of another program may lack values."""
    texts = {name: text_of(fields.get(name.encode(), b"")) for name in _NAMES}
    count = fields.get(b"count", b"")
    return ActionEntry(**texts, count=int(count) if count.isdigit() else 0)
