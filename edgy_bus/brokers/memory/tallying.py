"""The tallies of groups in memory."""

from edgy_bus.brokers.base import MINUTES, VERSIONS, History, Tally, Tallying
from edgy_bus.brokers.memory.core import MemoryCore


class MemoryTallying(MemoryCore, Tallying):
    """Keep minutes in dictionaries, and versions in lists."""

    async def tally(self, group: str, tally: Tally, version: str = "") -> None:
        now = self._clock()
        minutes, versions, minute = self._tallies[group], self._versions[group], int(now // 60)
        minutes[minute] = minutes.get(minute, Tally()).plus(tally)
        # As on Redis, where the minutes of a day have a bounded number of fields.
        for old in [each for each in minutes if each <= minute - MINUTES]:
            del minutes[old]
        if version and (not versions or versions[-1][1] != version):
            versions.append((now, version))
            del versions[:-VERSIONS]

    async def history(self, group: str) -> History:
        now = self._clock()
        first = int(now // 60) - MINUTES + 1
        minutes = {minute: each for minute, each in self._tallies[group].items() if minute >= first}
        return History(now, minutes, tuple(self._versions[group]))
