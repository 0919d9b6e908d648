"""Publishing: compare-and-set on the head, and the view of a publisher."""

from dataclasses import replace

from edgy_bus.brokers.base import START, Broker, Landmark, StreamHead
from edgy_bus.codec import Wire
from edgy_bus.signing import FIELD
from edgy_bus.testing.conformance.steps import (
    BEYOND,
    PARTITION,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    wires,
)


class PublishingTopic:
    """Events are appended only where the publisher expects the stream to stand."""

    async def test_a_chunk_is_appended_only_at_the_expected_head(self, broker: Broker) -> None:
        head = await append(broker, "a", "b")
        for wrong in (
            StreamHead(head.epoch),
            replace(head, epoch="stale"),
            replace(head, event_id="x"),
        ):
            assert await broker.publish(PARTITION, wrong, wires("c")) is None
        assert await broker.publish(PARTITION, head, wires("c")) is not None
        assert await fetch_ids(broker, await acquire(broker, "w")) == ["a", "b", "c"]

    async def test_a_stream_without_an_epoch_takes_nothing(self, broker: Broker) -> None:
        # Two publishers that both believe in an empty stream would append the same events twice.
        assert await broker.publish(PARTITION, StreamHead(), wires("a")) is None

    async def test_an_entry_has_the_fields_of_its_event(self, broker: Broker) -> None:
        head = await append(broker)
        signed = Wire("a", b'{"id":"a"}', b'{"n":1}', b"signature")
        unsigned = signed._replace(id="b", signature=b"")
        ids = await broker.publish(PARTITION, head, [signed, unsigned])
        entries = await fetch_new(broker, await acquire(broker, "w"))
        assert ids == [entry.id for entry in entries]
        fields = {b"head": b'{"id":"a"}', b"data": b'{"n":1}'}
        assert entries[0].fields == {b"id": b"a", **fields, FIELD: b"signature"}
        assert entries[1].fields == {b"id": b"b", **fields}

    async def test_inspect_returns_the_entries_behind_a_head(self, broker: Broker) -> None:
        old = await append(broker, "a")
        new = await append(broker, "b", "c")
        state = await broker.inspect(PARTITION, old, "unused")
        assert state.head == new
        assert [mark.event_id for mark in state.behind] == ["b", "c"]
        # The epoch of the publisher is over: its entry id means nothing, so everything is returned.
        stale = StreamHead("lost", old.entry, "a")
        state = await broker.inspect(PARTITION, stale, "unused")
        assert [mark.event_id for mark in state.behind] == ["a", "b", "c"]

    async def test_a_long_stream_is_read_in_pages_while_it_is_the_same(
        self, broker: Broker
    ) -> None:
        await append(broker, "a", "b")
        head = await append(broker, "c", "d", "e")
        state = await broker.inspect(PARTITION, StreamHead("stale"), "unused", 2)
        assert (state.head, state.complete) == (head, False)
        marks: list[Landmark] = list(state.behind)
        assert [mark.header for mark in marks] == [b'{"id":"a"}', b'{"id":"b"}']
        # Events that are appended meanwhile do not end the pages, and are not in the pages.
        await append(broker, "later")
        while marks[-1].entry < head.entry:
            page = await broker.landmarks(PARTITION, head, marks[-1].entry, 2)
            assert page, "the stream is the same"
            marks += page
        assert [mark.event_id for mark in marks] == ["a", "b", "c", "d", "e"]
        for replaced in (
            replace(head, epoch="x"),
            replace(head, event_id="x"),
            replace(head, entry=BEYOND),
        ):
            assert await broker.landmarks(PARTITION, replaced, START, 2) is None

    async def test_announced_events_are_kept_up_to_a_number_of_bytes(self, broker: Broker) -> None:
        small = wires(*(f"small {number:03}" for number in range(300)))
        large = [Wire(f"large {number:03}", b"{}", b"x" * 1_000) for number in range(300)]
        size = len(small[0].id + "".join(map(bytes.decode, small[0][1:])))
        assert await broker.announce(PARTITION, small, keep=100 * size) == 0, "nobody reads"
        # In several calls, and of different sizes: each entry counts with its own size.
        for number in range(0, 300, 100):
            await broker.announce(PARTITION, large[number : number + 100], keep=50_600)
        await broker.announce(PARTITION, small[:10], keep=50_600)
        kept = await fetch_ids(broker, await acquire(broker, "w"), count=1_000)
        expected = [wire.id for wire in [*large, *small[:10]]]
        assert kept == expected[-len(kept) :]
        assert len(kept) in (59, 60), "49 or 50 large events and ten small"

    async def test_dropped_announcements_are_counted_if_a_group_missed_them(
        self, broker: Broker
    ) -> None:
        events = wires(*(f"{number:02}" for number in range(40)))
        size = 2 + len(events[0].header) + len(events[0].data)
        await broker.announce(PARTITION, events[:10], keep=10 * size)
        lease = await acquire(broker, "w")
        assert len(await fetch_ids(broker, lease, count=4)) == 4
        assert await broker.announce(PARTITION, events[10:13], keep=10 * size) == 0
        assert await broker.announce(PARTITION, events[13:18], keep=10 * size) == 4
        # Entries that another program removed do not count twice.
        head = (await broker.inspect(PARTITION, StreamHead(), "epoch-1")).head
        await broker.trim(PARTITION, head, head.entry, {})
        assert await broker.announce(PARTITION, events[18:27], keep=10 * size) == 0
        assert await broker.announce(PARTITION, events[27:28], keep=10 * size) == 1

    async def test_an_announced_entry_has_the_fields_of_its_event(self, broker: Broker) -> None:
        signed = Wire("a", b'{"id":"a"}', b'{"n":1}', b"signature")
        await broker.announce(PARTITION, [signed, signed._replace(signature=b"")], keep=1_000)
        first, second = await fetch_new(broker, await acquire(broker, "w"))
        fields = {b"id": b"a", b"head": b'{"id":"a"}', b"data": b'{"n":1}'}
        assert (first.fields, second.fields) == ({**fields, FIELD: b"signature"}, fields)

    async def test_the_first_to_declare_decides(self, broker: Broker) -> None:
        assert await broker.declare("accounts.User", 8) == 8
        assert await broker.declare("accounts.User", 4) == 8
        assert dict(await broker.declared()) == {"accounts.User": 8}
