"""The tallies of groups on Redis: a hash for each group, with a field for each minute of a day."""

import re
from collections.abc import Mapping

from edgy_bus.brokers.base import MINUTES, VERSIONS, History, Tally, Tallying
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import text_of
from edgy_bus.brokers.redis.scripts import pairs

_MINUTE = re.compile(rb"(\d{1,12}) (\d{1,18}) (\d{1,18}) (\d{1,18})")

_VERSIONS = b"versions"


class RedisTallying(RedisCore, Tallying):
    """Add to a minute with one script, and read a day with one command."""

    async def tally(self, group: str, tally: Tally, version: str = "") -> None:
        text = version.encode("utf-8", "replace")
        arguments = (*tally, text, MINUTES, VERSIONS)
        await self._scripts.call("tally", (self.keys.tallies(group),), arguments)

    async def history(self, group: str) -> History:
        commands = [("TIME",), ("HGETALL", self.keys.tallies(group))]
        moment, flat = await self._scripts.ask(commands)
        now = int(moment[0]) + int(moment[1]) / 1_000_000
        fields = pairs(flat)
        return History(now, _minutes(fields, int(now // 60)), _versions(fields))


def _minutes(fields: Mapping[bytes, bytes], newest: int) -> dict[int, Tally]:
    """Return the minutes of the last day. Fields are used again after a day."""
    minutes = {}
    for text in fields.values():
        # The hash may have fields of another program.
        if read := _MINUTE.fullmatch(text):
            minute, *counts = map(int, read.groups())
            if newest - MINUTES < minute <= newest:
                minutes[minute] = Tally(*counts)
    return minutes


def _versions(fields: Mapping[bytes, bytes]) -> list[tuple[float, str]]:
    versions = []
    for line in text_of(fields.get(_VERSIONS, b"")).split("\n"):
        began, _, version = line.partition(" ")
        if began.isascii() and began.isdigit() and len(began) <= 14:
            versions.append((int(began) / 1000, version))
    return versions
