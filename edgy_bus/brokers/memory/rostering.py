"""The rosters of groups in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgy_bus.brokers.base import Enlisted, Listed, Roster, Rostering
from edgy_bus.brokers.base.rostering import NEW_GROUP, Refused
from edgy_bus.brokers.memory.core import MemoryCore


class MemoryRostering(MemoryCore, Rostering):
    """Keep the receivers of each group in a dictionary."""

    async def enlist(
        self, group: str, receivers: Sequence[Enlisted], forget_after: float, *, begins: bool
    ) -> Roster:
        now, listed = self._clock(), self._rosters[group]
        # Forgotten receivers count: their group is no new group.
        is_new_group = all(each.since >= now - NEW_GROUP for each in listed.values())
        before, added, dropped = dict(listed), [], []
        for receiver in receivers:
            line = listed.get(receiver.name)
            if line is None or line.forgotten:
                start = receiver.start or ("kept" if is_new_group else "now")
                line = Listed(receiver.signals, start, now, now)
                added.append(receiver.name)
            # Programs that run on do not undo the signals of a newer program.
            signals = receiver.signals if begins else line.signals
            listed[receiver.name] = replace(line, signals=signals, seen=now)
        # The line stays: streams of models that only this receiver read are still read.
        for name, each in listed.items():
            if not each.forgotten and each.seen < now - forget_after:
                listed[name] = replace(each, forgotten=True)
                dropped.append(name)
        if added or dropped or any(before[n].signals != listed[n].signals for n in before):
            self._change_roster(group)
        return Roster(dict(listed), now, self._roster_versions[group], added, dropped)

    async def roster(self, group: str) -> Roster:
        return Roster(dict(self._rosters[group]), self._clock(), self._roster_versions[group])

    async def dismiss(self, group: str, receiver: str) -> bool:
        line = self._rosters[group].get(receiver)
        if line is None or line.forgotten:
            return False
        self._rosters[group][receiver] = replace(line, forgotten=True)
        self._change_roster(group)
        return True

    async def rename(self, group: str, receiver: str, name: str) -> Refused | None:
        listed = {each for each, line in self._rosters[group].items() if not line.forgotten}
        if receiver not in listed:
            return "unknown"
        if name == receiver:
            names = self._names[group]
            self._names[group] = {name: names[name] for name in names if names[name] != receiver}
            return None
        # The name of a forgotten receiver is free.
        if name in listed or self._names[group].get(name) in listed - {receiver}:
            return "taken"
        self._names[group][name] = receiver
        return None

    async def names(self, group: str) -> Mapping[str, str]:
        return dict(self._names[group])

    async def disband(self, group: str) -> None:
        self._rosters.pop(group, None)
        self._names.pop(group, None)
        self._roster_versions.pop(group, None)
        self._pauses.pop(group, None)
        self._trips.pop(group, None)

    def _change_roster(self, group: str) -> None:
        # By the clock: a list that is lost and made again has another version.
        by_clock = int(self._clock() * 1000)
        self._roster_versions[group] = str(
            max(int(self._roster_versions[group] or 0) + 1, by_clock)
        )
