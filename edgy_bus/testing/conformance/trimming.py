"""Progress and trimming: what every group has finished may go."""

from dataclasses import replace

from edgy_bus.brokers.base import Broker, StreamHead
from edgy_bus.testing.conformance.steps import BEYOND, PARTITION, acquire, append, fetch_new


class TrimmingTopic:
    """Trimming removes only entries that every group has finished, of the right stream."""

    async def test_trimming_waits_for_the_slowest_group(self, broker: Broker) -> None:
        assert await broker.progress(PARTITION, StreamHead()) is None
        head = await append(broker, "a", "b")
        mail, search = await acquire(broker, "w"), await acquire(broker, "w", group="search")
        read = await fetch_new(broker, mail)
        unfinished = await fetch_new(broker, search, 1)
        await broker.settle(mail, [entry.id for entry in read])
        # The progress on another stream must not be taken for a confirmation.
        assert await broker.progress(PARTITION, replace(head, epoch="another")) is None
        assert await broker.progress(PARTITION, replace(head, event_id="another")) is None
        assert await broker.progress(PARTITION, head) == {
            "mail": read[-1].id.next,
            "search": unfinished[0].id,
        }

    async def test_nothing_is_trimmed_if_a_group_has_gone_back_meanwhile(
        self, broker: Broker
    ) -> None:
        head = await append(broker, "a", "b", "c")
        mail = await acquire(broker, "w")
        read = await fetch_new(broker, mail)
        await broker.settle(mail, [entry.id for entry in read[:2]])
        progress = await broker.progress(PARTITION, head)
        assert progress == {"mail": head.entry}
        # What the publisher has seen before an older copy of the data came back.
        before = {"mail": head.entry.next}
        assert await broker.trim(PARTITION, head, head.entry, before) is None
        # Groups that are gone, or that have come since, are the publisher's affair.
        await acquire(broker, "w", group="search")
        assert await broker.trim(PARTITION, head, head.entry, {**progress, "gone": BEYOND}) == 2

    async def test_a_group_that_has_finished_what_it_read_may_have_gone_back(
        self, broker: Broker
    ) -> None:
        head = await append(broker, "a", "b", "c")
        mail = await acquire(broker, "w")
        read = await fetch_new(broker, mail, 2)
        await broker.settle(mail, [entry.id for entry in read])
        before = {"mail": head.entry.next}
        assert await broker.trim(PARTITION, head, head.entry, before) is None
        progress = await broker.progress(PARTITION, head)
        assert progress == {"mail": read[-1].id.next}
        assert await broker.trim(PARTITION, head, progress["mail"], progress) == 2

    async def test_another_stream_is_not_trimmed(self, broker: Broker) -> None:
        head = await append(broker, "a", "b")
        # An id far above every entry: trimming below that id would remove everything.
        for wrong in (
            replace(head, epoch="x"),
            replace(head, event_id="x"),
            replace(head, entry=BEYOND),
        ):
            assert await broker.trim(PARTITION, wrong, BEYOND, {}) is None
        assert await broker.trim(PARTITION, head, head.entry, {}) == 1
