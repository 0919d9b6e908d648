"""Traces of events and rows: what outbox, stream, notes and letters still tell, joined."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import delete

from edgy_bus.brokers.base import Lease, Listed, RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import unpack
from edgy_bus.database import Database
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import PRE, Partition, new_event_id
from edgy_bus.operations import GroupStage, Parts, Stage, sightings, trace_event, trace_row
from edgy_bus.outbox.store import OutboxStore, searching
from edgy_bus.outbox.table import outbox
from edgy_bus.runtime.outcome import Note, pack_notes
from tests.support import PARTITION, bury, event, hold, publish
from tests.unit.outbox.support import SUBJECTS, read_all, relay_of, rounds, store_in, write

TEAMS = Partition("accounts.Team", "0")
ROW = SUBJECTS["0"]


class Fading(MemoryBroker):
    """A broker whose surveys stop answering when the test says so."""

    is_away = False

    async def declared(self) -> Any:
        if self.is_away:
            raise BrokerUnavailable("connection refused")
        return await super().declared()


@pytest.fixture
def broker() -> Fading:
    return Fading()


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[OutboxStore]:
    store = await store_in(sqlite_url)
    yield store
    await store.database.disconnect()


@pytest.fixture
def parts(broker: Fading, store: OutboxStore) -> Parts:
    return Parts(broker, "accounts", [store])


Relayed = Callable[[], Awaitable[None]]
"""Publishes what is pending, and confirms what every group has finished."""


@pytest.fixture
def relayed(store: OutboxStore, broker: Fading) -> Relayed:
    # A single relay: another would wait for the lease.
    relay = relay_of(store, broker, partitions=1)
    return lambda: rounds(relay)


async def tenure(broker: MemoryBroker, group: str = "mail") -> Lease:
    lease = await broker.acquire(PARTITION, group, "host-1.3", 60)
    assert lease is not None
    return lease


async def test_an_event_waits_for_the_relay_then_for_groups_and_is_confirmed(
    parts: Parts, broker: Fading, store: OutboxStore, relayed: Relayed
) -> None:
    [event_id] = await write(store, 1, context='{"actor":"ada","backfill":true,"replayof":"0192"}')
    journey = (await trace_event(parts, event_id)).journey
    assert journey is not None
    assert journey.outbox is not None
    assert (journey.outbox.stage, journey.outbox.number) == (Stage.PENDING, 1)
    assert (journey.stream, journey.groups) == (None, ())
    assert (journey.event.subject, journey.event.context) == (ROW, {"actor": "ada"})
    assert (journey.event.backfill, journey.event.replay) == (True, "0192")

    await relayed()
    lease = await tenure(broker)
    [entry] = (await broker.fetch(lease, 10, inherit=False)).entries
    trace = await trace_event(parts, event_id)
    journey = trace.journey
    assert journey is not None
    assert journey.outbox is not None
    assert journey.stream is not None
    assert journey.outbox.stage is Stage.PUBLISHED
    assert (journey.stream.entry, journey.stream.present) == (str(entry.id), True)
    assert unpack(entry.fields).backfill
    [group] = journey.groups
    assert (group.group, group.stage, group.owner) == ("mail", GroupStage.UNFINISHED, "host-1")
    assert (trace.gaps, trace.unreachable) == ((), ())

    await broker.settle(lease, [entry.id])
    settled = (await trace_event(parts, event_id)).journey
    assert settled is not None
    assert [each.stage for each in settled.groups] == [GroupStage.SETTLED]
    await broker.release(lease)
    await write(store, 1)
    await relayed()
    await read_all(broker, "mail")
    # The newest entry stays, so that the relay knows where the stream stands.
    await relayed()
    confirmed = (await trace_event(parts, event_id)).journey
    assert confirmed is not None
    assert confirmed.outbox is not None
    assert (confirmed.outbox.stage, confirmed.stream) == (Stage.CONFIRMED, None)


async def test_a_group_that_the_stream_does_not_have_is_unread(
    parts: Parts, store: OutboxStore, relayed: Relayed
) -> None:
    [event_id] = await write(store, 1)
    await store.add_group(PARTITION.model, "search")
    await relayed()
    journey = (await trace_event(parts, event_id)).journey
    assert journey is not None
    [group] = journey.groups
    assert (group.group, group.stage, group.owner, group.unread) == (
        "search",
        GroupStage.UNREAD,
        "",
        None,
    )
    [of_row] = (await trace_row(parts, PARTITION.model, ROW)).journeys
    assert of_row.groups == (group,)


async def test_receivers_that_wait_for_another_attempt_are_shown(broker: Fading) -> None:
    first, second = event("1", 1), event("2", 2)
    await publish(broker, first, second)
    lease = await tenure(broker)
    [entry] = (await broker.fetch(lease, 1, inherit=False)).entries
    notes = {"mail": Note(2, due=9e9, wait=60.0), "search": Note(0, done=True)}
    await broker.note(lease, {entry.id: pack_notes(first.id, notes)})
    await broker.pause("mail", None, "ana")
    parts = Parts(broker, "")
    journey = (await trace_event(parts, first.id)).journey
    assert journey is not None
    [group] = journey.groups
    assert [(each.receiver, each.attempts, each.done) for each in group.receivers] == [
        ("mail", 2, False),
        ("search", 0, True),
    ]
    assert group.paused
    unread = (await trace_event(parts, second.id)).journey
    assert unread is not None
    assert [(each.stage, each.unread) for each in unread.groups] == [(GroupStage.UNREAD, 1)]


async def test_a_receiver_that_is_set_aside_is_shown_with_its_owner(broker: Fading) -> None:
    published = event("1", 1)
    lease = await tenure(broker)
    listed = {name: Listed(("accounts.User.post_save",), "now", 0.0, 0.0) for name in "ab"}
    await broker.arrange(lease, listed, {})
    await publish(broker, published)
    [entry] = (await broker.fetch(lease, 1, inherit=False)).entries
    while (await broker.arrange(lease, {"a": listed["a"]}, {"b": listed["b"]})).more:
        pass
    await broker.settle(lease, [entry.id], left_out={"b": entry.id})
    assert await broker.acquire(PARTITION, "mail/b", "host-2.1", 60)
    await broker.pause("mail", None, "ana", receiver="b")
    journey = (await trace_event(Parts(broker, ""), published.id)).journey
    assert journey is not None
    assert [(each.group, each.stage, each.owner, each.paused) for each in journey.groups] == [
        ("mail", GroupStage.SETTLED, "host-1", False),
        ("mail/b", GroupStage.UNFINISHED, "host-2", True),
    ]


async def test_letters_and_parked_events_outlive_outbox_and_stream(broker: Fading) -> None:
    buried, other = event("1", 1), event("1", 2)
    await bury(broker, buried, reason="no such user")
    await bury(broker, other)
    await hold(broker, "7", group="audit", reason="away")
    [state] = await broker.parked(PARTITION, "audit", RowKey("app.mail", "7"), 9)
    parked_id = state.event_id.decode()
    broker._streams[PARTITION].entries.clear()
    parts = Parts(broker, "")
    trace = await trace_event(parts, buried.id)
    assert trace.journey is not None
    [letter] = trace.journey.letters
    assert (letter.reason, letter.event_id) == ("no such user", buried.id)
    assert "no entry of the event was met" in trace.gaps[0]
    wanted = await trace_event(parts, buried.id, payload=True)
    assert wanted.payload is None
    assert "the data of the event" in wanted.gaps[0]
    parked = (await trace_event(parts, parked_id)).journey
    assert parked is not None
    [place] = parked.parked
    assert (place.group, place.receiver, place.number) == ("audit", "app.mail", 1)
    assert (place.reason, place.released) == ("away", False)


async def test_what_an_event_caused_is_found_in_outbox_and_streams(
    parts: Parts, broker: Fading, store: OutboxStore
) -> None:
    [cause] = await write(store, 1)
    pending = await write(store, 1, signal="post_update", causation=cause)
    await write(store, 1, causation=new_event_id())
    foreign = event("9", 1)._replace(model="accounts.Team", causation=cause)
    named = event("9", 2)._replace(model="accounts.Team", context={"about": cause})
    await publish(broker, foreign, named, partition=TEAMS)
    trace = await trace_event(parts, cause)
    assert {each.id for each in trace.caused} == {*pending, foreign.id}
    effect = (await trace_event(parts, pending[0])).journey
    assert effect is not None
    assert effect.event.causation == cause


async def test_an_event_that_is_appended_and_not_marked_yet_is_published(
    parts: Parts, broker: Fading, store: OutboxStore
) -> None:
    appended = event("1", 1)
    await publish(broker, appended)
    await write(store, 1, event_id=appended.id)
    journey = (await trace_event(parts, appended.id)).journey
    assert journey is not None
    assert journey.outbox is not None
    assert journey.outbox.stage is Stage.PUBLISHED


async def test_an_entry_that_the_stream_lost_is_named(
    parts: Parts, broker: Fading, store: OutboxStore, relayed: Relayed
) -> None:
    [event_id] = await write(store, 1)
    await relayed()
    await read_all(broker, "mail")
    stream = broker._streams[PARTITION]
    [entry] = stream.entries
    stream.entries[entry] = {b"id": b"another", b"head": b"{}", b"data": b"{}"}
    trace = await trace_event(parts, event_id)
    assert trace.journey is not None
    assert trace.journey.stream is not None
    assert not trace.journey.stream.present
    assert trace.journey.groups == (), "the groups are at another event"
    assert str(entry) in trace.gaps[0]


async def test_a_place_that_does_not_answer_is_named_and_the_rest_is_shown(
    parts: Parts, broker: Fading, store: OutboxStore, relayed: Relayed
) -> None:
    [event_id] = await write(store, 1)
    broker.is_away = True
    trace = await trace_event(parts, event_id)
    assert trace.journey is not None
    assert trace.journey.outbox is not None
    assert trace.unreachable == ("the broker: connection refused",)
    row = await trace_row(parts, PARTITION.model, ROW)
    assert (len(row.journeys), len(row.unreachable)) == (1, 1)
    broker.is_away = False
    await relayed()
    reached = await trace_event(Parts(broker, ""), event_id, unreachable=["db: away"])
    assert reached.journey is not None
    assert reached.journey.stream is not None
    assert reached.unreachable == ("db: away",)


async def test_an_outbox_without_tables_is_named(broker: Fading, sqlite_url: str) -> None:
    async with Database(sqlite_url) as database:
        parts = Parts(broker, "accounts", [OutboxStore(database, "accounts")])
        trace = await trace_event(parts, new_event_id())
    assert trace.journey is None
    assert "the outbox cannot be read" in trace.unreachable[0]
    assert trace.places == ("the broker",)


async def test_an_event_that_is_nowhere_is_nowhere(parts: Parts) -> None:
    for event_id in (new_event_id(), "order-7"):
        trace = await trace_event(parts, event_id)
        assert (trace.journey, trace.caused, trace.unreachable) == (None, (), ())
        assert len(trace.places) == 2


async def test_announcements_are_found_by_their_id(broker: Fading) -> None:
    announced = event(None, None, "pre_save")
    await publish(broker, announced, partition=Partition(PARTITION.model, PRE))
    journey = (await trace_event(Parts(broker, ""), announced.id)).journey
    assert journey is not None
    assert journey.event.partition == PRE


async def test_the_data_is_read_only_if_wanted(
    parts: Parts, broker: Fading, store: OutboxStore, relayed: Relayed
) -> None:
    [event_id] = await write(store, 1, data='{"a":1}')
    assert (await trace_event(parts, event_id)).payload is None
    assert (await trace_event(parts, event_id, payload=True)).payload == '{"a":1}'
    await relayed()
    alone = Parts(broker, "")
    assert (await trace_event(alone, event_id, payload=True)).payload == '{"a":1}'
    assert (await trace_event(alone, event_id)).payload is None


async def test_the_newest_events_of_a_row_come_newest_last(
    parts: Parts, broker: Fading, store: OutboxStore, relayed: Relayed
) -> None:
    ids = await write(store, 5)
    await write(store, 1, subject="another")
    await relayed()
    row = await trace_row(parts, PARTITION.model, ROW, limit=3)
    assert [each.event.id for each in row.journeys] == ids[2:]
    assert row.more
    assert [each.outbox.stage for each in row.journeys if each.outbox] == [Stage.PUBLISHED] * 3
    whole = await trace_row(parts, PARTITION.model, ROW, limit=9)
    assert ([each.event.id for each in whole.journeys], whole.more) == (ids, False)
    stream = await trace_row(Parts(broker, ""), PARTITION.model, ROW, limit=3)
    assert [each.event.id for each in stream.journeys] == ids[2:], "the stream alone"
    assert stream.more


async def test_a_row_shows_letters_whose_events_are_tidied_up(broker: Fading) -> None:
    old, new = event("1", 1), event("1", 2)
    await bury(broker, old)
    broker._streams[PARTITION].entries.clear()
    await publish(broker, new, event("2", 1))
    row = await trace_row(Parts(broker, ""), PARTITION.model, "1")
    assert [each.event.id for each in row.journeys] == [old.id, new.id]
    assert [len(each.letters) for each in row.journeys] == [1, 0]


async def test_a_model_that_the_broker_does_not_know_is_named(broker: Fading) -> None:
    await publish(broker, event("1", 1))
    row = await trace_row(Parts(broker, ""), "accounts.Usr", "1")
    assert row.journeys == ()
    assert "it knows: accounts.User" in row.gaps[0]


async def test_searches_are_bounded_and_say_so(
    parts: Parts,
    broker: Fading,
    store: OutboxStore,
    relayed: Relayed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = await write(store, 12)
    await relayed()
    monkeypatch.setattr(searching, "PAGE", 2)
    monkeypatch.setattr(searching, "ROW_PAGES", 2)
    monkeypatch.setattr(searching, "EVENT_PAGES", 2)
    monkeypatch.setattr(searching, "CAUSED_PAGES", 2)
    monkeypatch.setattr(sightings, "STREAM_ENTRIES", 4)
    monkeypatch.setattr(sightings, "SEARCH", 4)
    trace = await trace_event(parts, new_event_id())
    assert trace.journey is None
    row = await trace_row(parts, PARTITION.model, ROW, limit=9)
    assert [each.event.id for each in row.journeys] == ids[-4:]
    assert row.more
    assert row.gaps[0].endswith("older rows were not looked at")
    stream = await trace_row(Parts(broker, ""), PARTITION.model, "none")
    assert (stream.journeys, stream.gaps) == (
        (),
        ("accounts.User:0: older entries were not looked at",),
    )
    await store.database.run(delete(outbox))
    assert (await trace_event(parts, ids[0])).journey is not None
    trace = await trace_event(parts, "order-7")
    assert any("may have caused more" in gap or "entries" in gap for gap in trace.gaps)
