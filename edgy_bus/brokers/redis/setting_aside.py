"""Receivers that are set aside on Redis: consumer groups of their own."""

import re
from collections.abc import Collection, Mapping, Sequence

from edgy_bus.brokers.base import Arrangement, Aside, EntryId, Lease, Listed, SettingAside
from edgy_bus.brokers.base.rostering import NEW_GROUP
from edgy_bus.brokers.base.setting_aside import BEHIND, MISSING, MOVED, NEAR
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore, require_tenure
from edgy_bus.brokers.redis.encoding import milliseconds, tenure_arguments, text_of
from edgy_bus.brokers.redis.scripts import Answer, pairs
from edgy_bus.events import Partition

_LINE = re.compile(r"(moving|aside|due) \S+ (\d{1,20}-\d{1,20}) (\d{1,14}) (.*)")
"""State, entry, time and reason, as `arrange.lua` writes a receiver that is set aside."""


class RedisSettingAside(RedisCore, SettingAside):
    """Set receivers aside, and bring them back, by one script."""

    async def arrange(
        self,
        lease: Lease,
        taking_part: Mapping[str, Listed],
        left_out: Mapping[str, Listed],
        forgotten: Collection[str] = (),
        *,
        sets_aside: bool = True,
        reasons: Mapping[str, str] | None = None,
    ) -> Arrangement:
        partition, group = lease.partition, lease.group
        keys = (
            self.keys.events(partition),
            *self._tenure_keys(lease),
            self.keys.aside(partition, group),
            self.keys.here(partition, group),
        )
        arguments: list[Argument] = [group, *tenure_arguments(lease), self.keys.tag(partition)]
        arguments += (int(sets_aside), MOVED, milliseconds(NEW_GROUP), milliseconds(NEAR))
        arguments += (len(taking_part), len(left_out))
        for name, listed in taking_part.items():
            arguments += (name, listed.start, milliseconds(listed.since), BEHIND)
        for name, listed in left_out.items():
            reason = (reasons or {}).get(name, MISSING)
            arguments += (name, listed.start, milliseconds(listed.since), reason)
        answer = await self._scripts.call("arrange", keys, [*arguments, *forgotten])
        require_tenure(answer, lease)
        return _arrangement(answer)

    async def asides(
        self, partitions: Sequence[Partition], group: str
    ) -> Mapping[Partition, Mapping[str, Aside]]:
        # A conversation without commands is an error.
        if not partitions:
            return {}
        commands = [("HGETALL", self.keys.aside(each, group)) for each in partitions]
        # One conversation: with hundreds of streams, the round trips are most of the cost.
        answers = zip(partitions, await self._scripts.ask(commands), strict=True)
        return {partition: _asides(pairs(flat)) for partition, flat in answers if flat}

    async def strangers_to(
        self, partitions: Sequence[Partition], group: str, receiver: str
    ) -> list[Partition]:
        commands: list[Sequence[Argument]] = []
        for partition in partitions:
            here, aside = self.keys.here(partition, group), self.keys.aside(partition, group)
            commands += [("HGET", here, ""), ("HGET", here, receiver), ("HGET", aside, receiver)]
        answers = await self._scripts.ask(commands) if commands else []
        # The empty name has the time of the first arrangement.
        return [
            partition
            for at, partition in enumerate(partitions)
            if answers[3 * at] is not None and answers[3 * at + 1 : 3 * at + 3] == [None, None]
        ]


def _arrangement(answer: Answer) -> Arrangement:
    aside, set_aside, returned = (
        tuple(text_of(name) for name in answer[field])
        for field in (b"aside", b"set_aside", b"returned")
    )
    # Floors of this epoch only; the script leaves the others out.
    floors = pairs(answer[b"floors"])
    # Numbers and names alternate, so that the pairs have two types.
    dropped = zip(answer[b"dropped"][::2], answer[b"dropped"][1::2], strict=True)
    return Arrangement(
        aside=frozenset(aside),
        floors={text_of(name): EntryId.parse(floor) for name, floor in floors.items()},
        set_aside=set_aside,
        returned=returned,
        dropped={text_of(name): None if count < 0 else count for name, count in dropped},
        more=bool(answer[b"more"]),
        near=bool(answer[b"near"]),
    )


def _asides(lines: Mapping[bytes, bytes]) -> dict[str, Aside]:
    """Return the receivers of a hash. A line of another form was written by another program."""
    asides = {}
    # The words of the state are those of `arrange.lua`.
    for name, text in lines.items():
        if line := _LINE.fullmatch(text_of(text)):
            state, entry, since, reason = line.groups()
            asides[text_of(name)] = Aside(
                EntryId.parse(entry), int(since) / 1000, reason, state != "moving"
            )
    return asides
