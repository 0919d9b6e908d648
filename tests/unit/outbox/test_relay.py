"""The relay against a broker in memory: what is published, when, and how often."""

import asyncio
from functools import partial
from typing import Any

import pytest

from edgy_bus.brokers.base import Protocol, StreamHead
from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable
from edgy_bus.events import Partition
from edgy_bus.outbox.leading import Leader
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import Chunk, OutboxStore
from tests.support import PARTITION, Told, eventually
from tests.unit.outbox.support import (
    OTHER,
    SUBJECTS,
    Away,
    on_stream,
    read_all,
    relay_of,
    store_in,
    write,
)


async def drain(relay: Relay) -> None:
    while await relay.step():
        pass


async def test_rows_reach_their_streams_in_order_and_once(store: OutboxStore, broker: Away) -> None:
    here, there = await write(store, 5), await write(store, 3, OTHER)
    relay = relay_of(store, broker)
    await drain(relay)
    more = await write(store, 2)
    await drain(relay)
    assert await on_stream(broker) == here + more
    assert await on_stream(broker, OTHER) == there
    assert await store.count_pending() == 0
    assert relay.published == 10


async def test_batches_and_pages_keep_the_order(store: OutboxStore, broker: Away) -> None:
    ids = await write(store, 25)
    await drain(relay_of(store, broker, chunk=4, page=10))
    assert await on_stream(broker) == ids
    assert max(broker.published) == 4


async def test_a_relay_without_the_lease_publishes_nothing(
    store: OutboxStore, broker: Away
) -> None:
    leading, standby = relay_of(store, broker), relay_of(store, broker)
    await leading.step()
    ids = await write(store, 3)
    assert not await standby.step()
    assert await on_stream(broker) == []
    await drain(leading)
    assert await on_stream(broker) == ids


async def test_the_standby_takes_over_when_the_leader_stops(
    store: OutboxStore, broker: Away
) -> None:
    async with relay_of(store, broker) as leader:
        await write(store, 1)
        await eventually(lambda: leader.published)
        async with relay_of(store, broker) as standby:
            await leader.stop()
            await write(store, 1)
            await eventually(lambda: standby.published == 1)


async def test_two_relays_that_both_believe_to_lead_publish_nothing_twice(
    sqlite_url: str, store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def yes(self: Leader) -> bool:
        return True

    monkeypatch.setattr(Leader, "step", yes)
    second = await store_in(sqlite_url)
    relays = [relay_of(store, broker, chunk=3), relay_of(second, broker, chunk=3)]
    ids: list[str] = []
    for _ in range(10):
        ids += await write(store, 7)
        await asyncio.gather(*(drain(relay) for relay in relays))
    await second.database.disconnect()
    assert await on_stream(broker) == ids
    assert await store.count_pending() == 0


async def test_a_relay_that_died_between_append_and_mark_left_no_double(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 4)
    broker.lose_next_answer = True
    with pytest.raises(BrokerUnavailable):
        await relay_of(store, broker, lease=0.2).step()
    assert await store.count_pending() == 4
    successor = relay_of(store, broker)
    await eventually(successor.step, "taking the lease over")
    await drain(successor)
    assert await on_stream(broker) == ids
    assert await store.count_pending() == 0


async def test_a_lost_answer_is_no_double_for_the_same_relay_either(
    store: OutboxStore, broker: Away
) -> None:
    relay = relay_of(store, broker)
    ids = await write(store, 4)
    broker.lose_next_answer = True
    with pytest.raises(BrokerUnavailable):
        await relay.step()
    ids += await write(store, 2)
    await drain(relay)
    assert await on_stream(broker) == ids


async def test_a_broker_that_lost_everything_gets_everything_again(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 5)
    await drain(relay_of(store, broker))
    await broker.erase()
    with Told() as told:
        await drain(relay_of(store, broker))
        assert await on_stream(broker) == ids
    assert told.of("relay.resynchronised")[0]["lost"] is True


async def test_a_running_relay_notices_by_itself_that_the_broker_lost_everything(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 5)
    async with relay_of(store, broker, trim_every=0.05, lease=0.3) as relay:
        await eventually(lambda: relay.published == 5)
        await broker.erase()
        await eventually(lambda: on_stream_is(broker, ids))


async def on_stream_is(broker: Away, ids: list[str]) -> bool:
    return await on_stream(broker) == ids


async def test_a_broker_that_lost_its_newest_entries_gets_those_again(
    store: OutboxStore, broker: Away
) -> None:
    first = await write(store, 3)
    relay = relay_of(store, broker)
    await drain(relay)
    kept = broker._streams[PARTITION].entries.copy()
    second = await write(store, 3)
    await drain(relay)
    broker._streams[PARTITION].entries = kept  # as a failover to a replica that lagged does
    third = await write(store, 1)
    await drain(relay)
    assert await on_stream(broker) == first + second + third


async def test_what_every_group_has_finished_is_not_sent_again(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 3)
    relay = relay_of(store, broker, trim_every=0.01)
    await drain(relay)
    await read_all(broker, "mail")
    await asyncio.sleep(0.02)
    await relay.step()
    new = await write(store, 2)
    await drain(relay)
    await broker.erase()
    await drain(relay_of(store, broker))
    assert (await on_stream(broker)) == new


async def test_streams_are_trimmed_below_what_the_slowest_group_has_not_finished(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 10)
    relay = relay_of(store, broker, trim_every=0.01)
    await drain(relay)
    await read_all(broker, "fast")
    slow = await broker.acquire(PARTITION, "slow", "w", 30)
    assert slow is not None
    fetched = await broker.fetch(slow, 10, inherit=False)
    await broker.settle(
        slow, [entry.id for entry in fetched.entries if fetched.entries.index(entry) != 4]
    )
    await asyncio.sleep(0.02)
    await relay.step()
    assert await on_stream(broker) == ids[4:]


async def test_old_rows_are_pruned_and_pending_ones_are_not(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 3)
    relay = relay_of(store, broker, trim_every=0.01, retention=1)
    await drain(relay)
    broker.away = True
    await write(store, 2)
    assert await store.tidying.prune(10**15) == 3
    assert await store.count_all() == await store.count_pending() == 2


async def test_another_number_of_partitions_is_refused_and_nothing_is_lost(
    store: OutboxStore, broker: Away
) -> None:
    await relay_of(store, broker, partitions=2, lease=0.2).step()
    await write(store, 2)
    wrong = relay_of(store, broker, partitions=3)
    with pytest.raises(
        ConfigurationError, match=r"was published with 2 partitions.*EventSettings\(partitions=2\)"
    ):
        await eventually(wrong.step)
    assert await store.count_pending() == 2


async def test_keys_that_only_newer_releases_can_use_are_left_alone(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 2)
    await broker.keep_protocol(Protocol(PROTOCOL.version + 1, PROTOCOL.version + 1))
    relay = relay_of(store, broker)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="as new as the other programs"):
            await relay.step()
    assert await store.count_pending() == 2
    assert await on_stream(broker) == []


async def test_a_broker_that_is_away_is_told_once_and_delivery_resumes(
    store: OutboxStore, broker: Away
) -> None:
    broker.away = True
    ids = await write(store, 3)
    with Told() as told:
        async with relay_of(store, broker) as relay:
            await asyncio.sleep(0.3)
            assert relay.running
            assert len(told.of("broker.unavailable")) == 1
            broker.away = False
            await eventually(lambda: on_stream_is(broker, ids))
            await eventually(lambda: "relay.recovered" in told.names())
    assert len(told.of("broker.unavailable")) == 1


async def test_a_ring_wakes_the_relay_before_its_poll(store: OutboxStore, broker: Away) -> None:
    async with relay_of(store, broker, poll=3_600) as relay:
        await eventually(lambda: relay.repairer.verified)
        await asyncio.sleep(0.05)
        ids = await write(store, 1)
        relay.bell.ring()
        await eventually(lambda: on_stream_is(broker, ids))


async def test_stopping_gives_the_lease_back(store: OutboxStore, broker: Away) -> None:
    async with relay_of(store, broker, lease=3_600) as relay:
        await eventually(lambda: relay.repairer.verified)
    other = relay_of(store, broker)
    await other.step()
    assert other.repairer.verified


async def test_a_mark_on_a_head_that_has_moved_changes_nothing(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 1)
    await drain(relay_of(store, broker))
    head = (await store.heads())[PARTITION]
    await write(store, 1)
    (row,) = (await store.pending(10))[PARTITION].rows
    stale: Any = StreamHead(head.epoch, head.entry, "another event")
    assert await store.mark([Chunk(PARTITION, stale, head, Placed([row.id], [head.entry]))]) == [
        False
    ]
    assert await store.count_pending() == 1
    assert (await store.heads())[PARTITION] == head


async def test_what_was_written_with_another_number_of_partitions_goes_where_workers_look(
    store: OutboxStore, broker: Away
) -> None:
    there = await write(store, 1, subject=SUBJECTS["1"])  # labelled 0
    nowhere = await write(store, 1, Partition("accounts.User", "7"), subject=SUBJECTS["1"])
    right = await write(store, 1, OTHER)
    with Told() as told:
        await drain(relay_of(store, broker))
    assert await on_stream(broker, OTHER) == there + nowhere + right
    assert await on_stream(broker) == []
    assert [fields["count"] for fields in told.of("relay.repartitioned")] == [2]


async def test_a_group_that_is_missing_keeps_a_stream_from_being_trimmed_until_it_is_forgotten(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 5)
    relay = relay_of(store, broker, trim_every=0.01)
    await drain(relay)
    await store.add_group(PARTITION.model, "gone")
    await read_all(broker, "mail")
    with Told() as told:
        for _ in range(3):
            await asyncio.sleep(0.02)
            await relay.step()
    assert told.of("stream.waits") == [{"partition": str(PARTITION), "groups": ["gone"]}]
    assert await on_stream(broker) == ids
    assert await store.groups() == {PARTITION.model: {"gone", "mail"}}
    assert await store.forget_group("gone") == 1
    await asyncio.sleep(0.02)
    await relay.step()
    assert await on_stream(broker) == ids[-1:]


async def test_what_is_young_is_kept_for_groups_that_start_later(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 3)
    relay = relay_of(store, broker, trim_every=0.01, keep=0.3)
    await drain(relay)
    await read_all(broker, "first")
    await asyncio.sleep(0.02)
    await relay.step()
    assert await on_stream(broker) == ids
    assert len(await read_all(broker, "second")) == 3
    await asyncio.sleep(0.4)
    later = await write(store, 1)
    await drain(relay)
    for group in ("first", "second"):
        await read_all(broker, group)
    await asyncio.sleep(0.02)
    await relay.step()
    assert await on_stream(broker) == later


async def test_a_long_stream_is_recognised_page_by_page(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await write(store, 10)
    relay = relay_of(store, broker)
    await drain(relay)
    broker._streams[PARTITION].epoch = None
    monkeypatch.setattr(broker, "inspect", partial(broker.inspect, count=3))
    monkeypatch.setattr(broker, "landmarks", partial(broker.landmarks, count=3))
    with Told() as told:
        await relay.repairer.step()
    assert [fields["marked"] for fields in told.of("relay.resynchronised")] == [10]
    assert await store.count_pending() == 0
    monkeypatch.undo()
    await drain(relay)
    assert await on_stream(broker) == ids


async def test_a_stream_that_is_replaced_while_it_is_read_is_read_again(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await write(store, 4)
    relay = relay_of(store, broker)
    await drain(relay)
    broker._streams[PARTITION].epoch = None
    known, landmarks = (await store.heads())[PARTITION], broker.landmarks

    async def lost(*args: Any) -> Any:
        await broker.erase()
        return await landmarks(*args)

    monkeypatch.setattr(broker, "inspect", partial(broker.inspect, count=2))
    monkeypatch.setattr(broker, "landmarks", lost)
    await relay.repairer.step()
    assert (await store.heads())[PARTITION] == known, "half a stream is not believed"
    monkeypatch.undo()
    await relay.leader.step()
    await drain(relay)
    assert await on_stream(broker) == ids
    assert await store.count_pending() == 0


async def test_a_refused_batch_holds_up_its_own_partition_only(
    store: OutboxStore, broker: Away
) -> None:
    first, there = await write(store, 1), await write(store, 1, OTHER)
    relay = relay_of(store, broker)
    await drain(relay)
    broker._streams[PARTITION].epoch = "another"
    more, elsewhere = await write(store, 3), await write(store, 3, OTHER)
    assert await relay.step()
    assert await on_stream(broker, OTHER) == there + elsewhere
    assert await on_stream(broker) == first
    await drain(relay)
    assert await on_stream(broker) == first + more


async def test_a_database_that_fails_while_marking_is_told_as_it_is(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: OutboxStore, marked: Any) -> Any:
        raise DatabaseUnavailable("away")

    relay = relay_of(store, broker)
    ids = await write(store, 1)
    await drain(relay)
    ids += await write(store, 3)
    with monkeypatch.context() as patched:
        patched.setattr(OutboxStore, "mark", fails)
        with pytest.raises(DatabaseUnavailable):
            await relay.step()
    assert await store.count_pending() == 3
    await drain(relay)
    assert await on_stream(broker) == ids
