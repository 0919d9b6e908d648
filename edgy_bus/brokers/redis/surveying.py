"""The state of streams on Redis."""

from collections.abc import Sequence
from typing import Any

from edgy_bus.brokers.base import BrokerFacts, EntryId, GroupSurvey, StreamSurvey, Surveying
from edgy_bus.brokers.base.surveying import SURVEY
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import text_of
from edgy_bus.brokers.redis.scripts import Answer
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import Partition

_SETTINGS = frozenset(
    {
        *("redis_version", "maxmemory", "maxmemory_policy", "used_memory"),
        *("aof_enabled", "rdb_last_bgsave_status", "role", "connected_slaves"),
    }
)


class RedisSurveying(RedisCore, Surveying):
    """Describe each stream with one script, many streams in a conversation."""

    async def survey(self, partitions: Sequence[Partition]) -> Sequence[StreamSurvey]:
        streams: list[StreamSurvey] = []
        for at in range(0, len(partitions), SURVEY):
            page = partitions[at : at + SURVEY]
            # The script finds the groups, and makes their keys of the beginning of every key.
            calls = [((self.keys.events(each),), (self.keys.tag(each),)) for each in page]
            answers = await self._scripts.call_all("survey", calls)
            streams += map(_stream, page, answers)
        return streams

    async def facts(self) -> BrokerFacts:
        (moment,) = await self._scripts.ask([("TIME",)])
        now = int(moment[0]) + int(moment[1]) / 1_000_000
        try:
            (text,) = await self._scripts.ask([("INFO",)])
        except BrokerUnavailable:
            raise
        except BrokerError:
            return BrokerFacts(now)  # Hosted servers, and users without this right.
        lines = (line.partition(":") for line in text_of(text).splitlines())
        return BrokerFacts(now, {name: value for name, _, value in lines if name in _SETTINGS})


def _stream(partition: Partition, answer: Answer) -> StreamSurvey:
    # A user without the right to MEMORY USAGE sees no size.
    size = int(answer[b"size"])
    groups = [_group(row) for row in answer[b"groups"]]
    return StreamSurvey(
        partition=partition,
        now=int(answer[b"now"]),
        entries=int(answer[b"entries"]),
        size=None if size < 0 else size,
        groups=[each for each in groups if "/" not in each.group],
        asides=[each for each in groups if "/" in each.group],
    )


def _group(row: Sequence[Any]) -> GroupSurvey:
    name, unfinished, unread, oldest, dead, held, holder = row
    return GroupSurvey(
        group=text_of(name),
        unfinished=int(unfinished),
        unread=None if int(unread) < 0 else int(unread),
        oldest=EntryId.parse(oldest) if oldest else None,
        dead=int(dead),
        held=int(held),
        holder=text_of(holder),
    )
