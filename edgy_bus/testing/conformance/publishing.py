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

    async def test_announced_events_are_kept_up_to_a_number(self, broker: Broker) -> None:
        ids = [str(number) for number in range(1_000)]
        await broker.announce(PARTITION, wires(*ids), keep=10)
        kept = await fetch_ids(broker, await acquire(broker, "w"), count=1_000)
        # "About": Redis trims whole nodes of its tree.
        assert 10 <= len(kept) < 500
        assert kept == ids[-len(kept) :]

    async def test_an_announced_entry_has_the_fields_of_its_event(self, broker: Broker) -> None:
        signed = Wire("a", b'{"id":"a"}', b'{"n":1}', b"signature")
        await broker.announce(PARTITION, [signed, signed._replace(signature=b"")], keep=10)
        first, second = await fetch_new(broker, await acquire(broker, "w"))
        fields = {b"id": b"a", b"head": b'{"id":"a"}', b"data": b'{"n":1}'}
        assert (first.fields, second.fields) == ({**fields, FIELD: b"signature"}, fields)

    async def test_the_first_to_declare_decides(self, broker: Broker) -> None:
        assert await broker.declare("accounts.User", 8) == 8
        assert await broker.declare("accounts.User", 4) == 8
        assert dict(await broker.declared()) == {"accounts.User": 8}
