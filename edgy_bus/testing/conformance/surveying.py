"""Surveys: how far the groups of streams are, and what they keep."""

import time

from edgy_bus.brokers.base import START, Broker
from edgy_bus.events import Partition
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_new,
    letter_of,
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
