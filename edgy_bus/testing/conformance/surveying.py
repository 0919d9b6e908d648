"""Surveys: how far the groups of streams are, and what they keep."""

import time

from edgy_bus.brokers.base import SEARCH_BYTES, START, Broker, EntryId, EntrySurvey
from edgy_bus.codec import Wire
from edgy_bus.events import Partition
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_new,
    letter_of,
    pass_on,
)

UNKNOWN = Partition("accounts.User", "7")


class SurveyTopic:
    """A survey shows streams and groups as they are, and changes nothing."""

    async def test_the_broker_describes_itself(self, broker: Broker) -> None:
        facts = await broker.facts()
        assert abs(facts.now - time.time()) < 60
        assert int(facts.settings["redis_version"].split(".")[0]) >= 6

    async def test_a_survey_shows_how_far_groups_are(self, broker: Broker) -> None:
        await append(broker, *"abcd")
        lease = await acquire(broker, "w")
        a, b, c = await fetch_new(broker, lease, 3)
        await broker.bury(lease, letter_of(a))
        await broker.park(lease, ROW, letter_of(b), begin=True, after=START)
        await broker.settle(lease, [a.id])
        # A group that has finished everything, and whose lease is free.
        idle = await acquire(broker, "other", group="idle")
        await broker.settle(idle, [entry.id for entry in await fetch_new(broker, idle)])
        await broker.release(idle)
        stream, nothing = await broker.survey([PARTITION, UNKNOWN])
        mail, done = sorted(stream.groups, key=lambda group: group.group, reverse=True)
        assert (stream.partition, stream.entries) == (PARTITION, 4)
        assert (mail.group, mail.unfinished, mail.unread) == ("mail", 2, 1)
        assert (mail.oldest, mail.dead, mail.held) == (b.id, 1, 1)
        assert mail.holder == lease.holder
        version = (await broker.facts()).settings["redis_version"]
        counts = int(version.split(".")[0]) >= 7
        assert (mail.read, done.read) == ((3, 4) if counts else (None, None))
        assert (done.group, done.unfinished, done.unread, done.oldest) == ("idle", 0, 0, None)
        assert done.holder == ""
        assert abs(stream.now - c.id.ms) < 60_000, "the clock that also numbers entries"
        assert (nothing.entries, nothing.groups) == (0, [])
        await broker.settle(lease, [b.id, c.id])
        (stream,) = await broker.survey([PARTITION])
        (mail,) = (group for group in stream.groups if group.group == "mail")
        # No script reads the entry to number it, so the read shows its id.
        (d,) = await fetch_new(broker, lease)
        assert mail.oldest == d.id, "the oldest entry was unread"

    async def test_an_entry_is_shown_with_the_way_of_each_group(self, broker: Broker) -> None:
        await append(broker, *"abc")
        lease = await acquire(broker, "w")
        a, b, _ = await fetch_new(broker, lease, 3)
        # A group that has read the first entry alone.
        behind = await acquire(broker, "behind", group="slow")
        await fetch_new(broker, behind, 1)
        await broker.note(lease, {b.id: b"notes"})
        await broker.settle(lease, [a.id])
        settled = await broker.survey_entry(PARTITION, a.id)
        mail, slow = sorted(settled.groups, key=lambda group: group.group)
        assert settled.fields == {b"id": b"a", b"head": b'{"id":"a"}'}
        assert (mail.group, mail.reader, mail.deliveries, mail.notes) == ("mail", "", 0, None)
        assert mail.position > a.id
        assert (slow.group, slow.reader, slow.deliveries) == ("slow", behind.holder, 1)
        unfinished = await broker.survey_entry(PARTITION, b.id, data=True)
        mail, slow = sorted(unfinished.groups, key=lambda group: group.group)
        assert unfinished.fields[b"data"] == b"{}"
        assert (mail.reader, mail.deliveries, mail.notes) == (lease.holder, 1, b"notes")
        assert (slow.reader, slow.position) == ("", a.id), "the group has not read so far"
        later = await pass_on(broker, lease)
        await broker.fetch(later, 10, inherit=True)
        taken = await broker.survey_entry(PARTITION, b.id)
        (mail,) = (group for group in taken.groups if group.group == "mail")
        assert (mail.reader, mail.deliveries) == (later.holder, 2)

    async def test_an_entry_that_is_not_there_has_no_fields(self, broker: Broker) -> None:
        assert await broker.survey_entry(UNKNOWN, EntryId(1, 0)) == EntrySurvey({}, [])
        await append(broker, "a")
        assert (await broker.survey_entry(PARTITION, EntryId(1, 0))).fields == {}

    async def test_a_search_reads_headers_in_pages(self, broker: Broker) -> None:
        await append(broker, "ax", "b", "ay", "c", "az")
        page = await broker.search(PARTITION, b'"a', count=2)
        assert [landmark.event_id for landmark in page.landmarks] == ["ax"]
        assert page.landmarks[0].header == b'{"id":"ax"}'
        assert page.looked_at == 2
        # Behind the last entry of the page, which did not match.
        page = await broker.search(PARTITION, b'"a', page.last)
        assert [landmark.event_id for landmark in page.landmarks] == ["ay", "az"]
        assert (page.last, page.looked_at) == (page.landmarks[1].entry, 3)
        end = await broker.search(PARTITION, b'"a', page.last)
        assert (end.landmarks, end.last, end.looked_at) == ([], None, 0)

    async def test_a_search_backwards_begins_with_the_newest(self, broker: Broker) -> None:
        await append(broker, "ax", "b", "ay")
        page = await broker.search(PARTITION, b'"a', count=2, backwards=True)
        assert [landmark.event_id for landmark in page.landmarks] == ["ay"]
        page = await broker.search(PARTITION, b'"a', page.last, backwards=True)
        assert [landmark.event_id for landmark in page.landmarks] == ["ax"]
        assert (await broker.search(UNKNOWN, b"", backwards=True)).last is None

    async def test_a_search_takes_no_text_for_a_pattern(self, broker: Broker) -> None:
        await append(broker, "a", "b")
        assert (await broker.search(PARTITION, b".")).landmarks == []

    async def test_a_step_of_a_search_ends_after_some_bytes(self, broker: Broker) -> None:
        head = await append(broker, "a")
        data = b"x" * (SEARCH_BYTES // 25)
        large = [Wire(f"e{n}", b"{}", data) for n in range(60)]
        assert await broker.publish(PARTITION, head, large) is not None
        page = await broker.search(PARTITION, b"{")
        # A broker looks at the sizes after some entries at the latest.
        assert 20 <= page.looked_at <= 50
        assert len(page.landmarks) == page.looked_at
