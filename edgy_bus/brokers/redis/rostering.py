"""The rosters of groups on Redis: a hash for each group."""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from edgy_bus.brokers.base import Enlisted, Listed, Roster, Rostering, Start
from edgy_bus.brokers.base.rostering import NEW_GROUP, Refused
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import milliseconds, text_of
from edgy_bus.brokers.redis.scripts import pairs

_LINE = re.compile(r"(kept|now) (\d{1,14}) (\d{1,14}) (\d{1,14}) (.+)")
"""Start, two times, the time of forgetting, signals: as `enlist.lua` writes a receiver."""


class RedisRostering(RedisCore, Rostering):
    """Keep the receivers of each group, one script for each change."""

    async def enlist(
        self, group: str, receivers: Sequence[Enlisted], forget_after: float, *, begins: bool
    ) -> Roster:
        arguments: list[Argument] = [milliseconds(forget_after), milliseconds(NEW_GROUP)]
        arguments.append(int(begins))
        for receiver in receivers:
            arguments += (receiver.name, receiver.start or "", " ".join(receiver.signals))
        answer = await self._scripts.call("enlist", (self.keys.receivers(group),), arguments)
        return Roster(
            _listed(pairs(answer[b"receivers"])),
            int(answer[b"now"]) / 1000,
            text_of(answer[b"version"]),
            [text_of(name) for name in answer[b"added"]],
            [text_of(name) for name in answer[b"dropped"]],
        )

    async def roster(self, group: str) -> Roster:
        # Only a look: a value of another type stays where it is.
        commands = [("HGETALL", self.keys.receivers(group)), ("TIME",)]
        flat, moment = await self._scripts.ask(commands)
        lines = pairs(flat)
        now = int(moment[0]) + int(moment[1]) / 1_000_000
        return Roster(_listed(lines), now, text_of(lines.get(b"", b"")))

    async def dismiss(self, group: str, receiver: str) -> bool:
        answer = await self._scripts.call("dismiss", (self.keys.receivers(group),), (receiver,))
        return answer.refusal is None

    async def rename(self, group: str, receiver: str, name: str) -> Refused | None:
        keys = (self.keys.receivers(group), self.keys.names(group))
        refusal = (await self._scripts.call("rename", keys, (receiver, name))).refusal
        # The words of `rename.lua` are the two values of `Refused`.
        return None if refusal is None else cast("Refused", text_of(refusal))

    async def names(self, group: str) -> Mapping[str, str]:
        (flat,) = await self._scripts.ask([("HGETALL", self.keys.names(group))])
        return {text_of(name): text_of(receiver) for name, receiver in pairs(flat).items()}

    async def disband(self, group: str) -> None:
        keys = self.keys
        # One command, and one slot of a cluster.
        of_group = (
            keys.receivers(group),
            keys.names(group),
            keys.paused(group),
            keys.tripped(group),
        )
        await self._scripts.ask([("UNLINK", *of_group)])


def _listed(lines: Mapping[bytes, bytes]) -> dict[str, Listed]:
    """Return the receivers of a hash. A line of another form was written by another program."""
    listed = {}
    for name, text in lines.items():
        if line := _LINE.fullmatch(text_of(text)):
            # The pattern admits the two values of `Start` only.
            start, since, seen, forgotten, signals = line.groups()
            listed[text_of(name)] = Listed(
                tuple(signals.split()),
                cast("Start", start),
                int(since) / 1000,
                int(seen) / 1000,
                forgotten != "0",
            )
    return listed
