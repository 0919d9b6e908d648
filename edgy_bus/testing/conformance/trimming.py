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

    async def test_another_stream_is_not_trimmed(self, broker: Broker) -> None:
        head = await append(broker, "a", "b")
        # An id far above every entry: trimming below that id would remove everything.
        for wrong in (
            replace(head, epoch="x"),
            replace(head, event_id="x"),
            replace(head, entry=BEYOND),
        ):
            assert await broker.trim(PARTITION, wrong, BEYOND) == 0
        assert await broker.trim(PARTITION, head, head.entry) == 1
