"""The state of streams on Redis."""

from collections.abc import Sequence
from typing import Any

from edgy_bus.brokers.base import (
    OVERSHOOT,
    SEARCH,
    SEARCH_BYTES,
    BrokerFacts,
    EntryId,
    EntrySurvey,
    GroupAtEntry,
    GroupSurvey,
    SearchPage,
    StreamSurvey,
    Surveying,
)
from edgy_bus.brokers.base.surveying import SURVEY
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import read_fields, read_landmark, text_of
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

    async def survey_entry(
        self, partition: Partition, entry: EntryId, *, data: bool = False
    ) -> EntrySurvey:
        # As for `survey`: the script finds the groups.
        arguments = (self.keys.tag(partition), str(entry), int(data))
        answer = await self._scripts.call("survey_entry", (self.keys.events(partition),), arguments)
        groups = [_at_entry(row) for row in answer[b"groups"]]
        return EntrySurvey(read_fields(answer[b"fields"]), groups)

    async def search(
        self,
        partition: Partition,
        text: bytes,
        start: EntryId | None = None,
        count: int = SEARCH,
        *,
        backwards: bool = False,
    ) -> SearchPage:
        # Headers are bytes, and the script compares bytes: the text needs no decoding.
        bound = "" if start is None else str(start)
        arguments = (text, bound, count, SEARCH_BYTES, OVERSHOOT, int(backwards))
        answer = await self._scripts.call("search", (self.keys.events(partition),), arguments)
        last = EntryId.parse(answer[b"last"]) if answer[b"last"] else None
        landmarks = [read_landmark(raw) for raw in answer[b"landmarks"]]
        return SearchPage(landmarks, last, int(answer[b"looked_at"]))

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
    name, unfinished, unread, oldest, dead, held, holder, read, removed = row
    return GroupSurvey(
        group=text_of(name),
        unfinished=int(unfinished),
        unread=None if int(unread) < 0 else int(unread),
        oldest=EntryId.parse(oldest) if oldest else None,
        dead=int(dead),
        held=int(held),
        holder=text_of(holder),
        read=None if int(read) < 0 else int(read),
        removed=int(removed),
    )


def _at_entry(row: Sequence[Any]) -> GroupAtEntry:
    name, position, reader, deliveries, notes = row
    return GroupAtEntry(
        group=text_of(name),
        position=EntryId.parse(position),
        reader=text_of(reader),
        deliveries=int(deliveries),
        notes=notes or None,
    )
