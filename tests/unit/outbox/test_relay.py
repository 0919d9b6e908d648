"""The relay against a broker in memory: what is published, when, and how often."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import pytest

from edgy_bus.brokers.base import START, DeadLetter, Protocol, RowKey, StreamHead
from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.errors import (
    BrokerNotReady,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
)
from edgy_bus.events import Partition
from edgy_bus.outbox import publishing
from edgy_bus.outbox.leading import Leader
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.paging import SLOW
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import Chunk, OutboxStore, PageSize
from tests.support import PARTITION, Told, eventually
from tests.unit.outbox.support import (
    OTHER,
    SUBJECTS,
    Away,
    count_all,
    count_pending,
    on_stream,
    read_all,
    relay_of,
    round_is_due,
    rounds,
    store_in,
    up_to,
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
    assert await count_pending(store) == 0
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
    assert await count_pending(store) == 0


async def test_a_relay_that_died_between_append_and_mark_left_no_double(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 4)
    broker.lose_next_answer = True
    with pytest.raises(BrokerUnavailable):
        await relay_of(store, broker, lease=0.2).step()
    assert await count_pending(store) == 4
    successor = relay_of(store, broker)
    await eventually(successor.step, "taking the lease over")
    await drain(successor)
    assert await on_stream(broker) == ids
    assert await count_pending(store) == 0


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
    round_is_due(relay)
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
    await rounds(relay)
    assert await on_stream(broker) == ids[4:]


async def test_old_rows_are_pruned_and_pending_ones_are_not(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 3, age=100)
    relay = relay_of(store, broker, trim_every=0.01, retention=1_000)
    await drain(relay)
    broker.away = True
    await write(store, 2, age=100)
    assert await store.tidying.prune(101) == 0
    assert await store.tidying.prune(99) == 3
    assert await count_all(store) == await count_pending(store) == 2


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
    assert await count_pending(store) == 2


async def test_keys_that_only_newer_releases_can_use_are_left_alone(
    store: OutboxStore, broker: Away
) -> None:
    await write(store, 2)
    await broker.keep_protocol(Protocol(PROTOCOL.version + 1, PROTOCOL.version + 1))
    relay = relay_of(store, broker)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="as new as the other programs"):
            await relay.step()
    assert await count_pending(store) == 2
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
    async with relay_of(store, broker, poll=3_600, lease=3_600) as relay:
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
    (row,) = (await store.pending(up_to(10)))[PARTITION].rows
    stale: Any = StreamHead(head.epoch, head.entry, "another event")
    assert await store.mark([Chunk(PARTITION, stale, head, Placed([row.id], [head.entry]))]) == [
        False
    ]
    assert await count_pending(store) == 1
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
            round_is_due(relay)
            await relay.step()
    assert told.of("stream.waits") == [{"partition": str(PARTITION), "groups": ["gone"]}]
    assert await on_stream(broker) == ids
    assert await store.groups() == {PARTITION.model: {"gone", "mail"}}
    assert await store.forget_group("gone") == 1
    round_is_due(relay)
    await relay.step()
    assert await on_stream(broker) == ids[-1:]


async def test_what_is_young_is_kept_for_groups_that_start_later(
    store: OutboxStore, broker: Away
) -> None:
    ids = await write(store, 3)
    relay = relay_of(store, broker, trim_every=0.01, keep=0.3)
    await drain(relay)
    await read_all(broker, "first")
    round_is_due(relay)
    await relay.step()
    assert await on_stream(broker) == ids
    assert len(await read_all(broker, "second")) == 3
    await asyncio.sleep(0.4)
    later = await write(store, 1)
    await drain(relay)
    for group in ("first", "second"):
        await read_all(broker, group)
    round_is_due(relay)
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
    assert await count_pending(store) == 0
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
    assert await count_pending(store) == 0


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
    assert await count_pending(store) == 3
    await drain(relay)
    assert await on_stream(broker) == ids


async def is_on_stream(broker: Away, ids: list[str]) -> bool:
    return await on_stream(broker) == ids


async def test_a_page_that_the_database_refuses_to_read_is_read_in_parts(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await write(store, 40, data="x" * 98)
    read, asked = store.pending, []

    async def limited(size: PageSize, avoiding: Collection[Partition] = ()) -> Any:
        asked.append(size)
        if min(size.rows * 100, size.bytes) > 400:
            raise DatabaseError("canceling statement due to statement timeout")
        return await read(size, avoiding)

    monkeypatch.setattr(store, "pending", limited)
    async with relay_of(store, broker):
        await eventually(lambda: is_on_stream(broker, ids))
    assert len(asked) > 10


@pytest.mark.parametrize(
    ("error", "shrinks"),
    [
        (BrokerNotReady("the server is full"), False),
        (BrokerUnavailable("the answer was lost"), True),
    ],
)
async def test_only_chunks_without_an_answer_get_smaller(
    store: OutboxStore,
    broker: Away,
    monkeypatch: pytest.MonkeyPatch,
    error: BrokerUnavailable,
    shrinks: bool,
) -> None:
    relay = relay_of(store, broker)
    await drain(relay)
    await write(store, 3)
    paging = relay.publisher._paging
    before = paging.chunk_bytes

    async def fails(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(broker, "publish", fails)
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await relay.step()
    assert paging.chunk_bytes == (before // 4**3 if shrinks else before)


@pytest.mark.parametrize(
    ("error", "seconds", "shrinks"),
    [
        (DatabaseUnavailable("away"), 0.0, False),
        (DatabaseUnavailable("no answer within `command_timeout`"), SLOW + 1, True),
        (DatabaseError("canceling statement due to statement timeout"), 0.0, True),
    ],
)
async def test_pages_get_smaller_after_reads_that_took_too_long_and_not_after_outages(
    store: OutboxStore,
    broker: Away,
    monkeypatch: pytest.MonkeyPatch,
    error: DatabaseError,
    seconds: float,
    shrinks: bool,
) -> None:
    relay = relay_of(store, broker)
    await drain(relay)
    now = 0.0

    async def fails(*_: Any) -> Any:
        nonlocal now
        now += seconds
        raise error

    monkeypatch.setattr(publishing, "_now", lambda: now)
    monkeypatch.setattr(store, "pending", fails)
    before = relay.publisher._paging.size
    with pytest.raises(DatabaseError):
        await relay.step()
    assert (relay.publisher._paging.size < before) == shrinks


async def test_a_relay_trims_a_full_broker_and_leaves_a_silent_one_alone(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = relay_of(store, broker)
    await drain(relay)
    await write(store, 1)
    tidied: list[type[Exception]] = []
    for error in (BrokerNotReady("full"), BrokerUnavailable("silent")):

        async def fails(*_: Any, error: Exception = error) -> Any:
            raise error

        async def tidy(error: Exception = error) -> bool:
            tidied.append(type(error))
            return False

        monkeypatch.setattr(broker, "publish", fails)
        monkeypatch.setattr(relay.tidier, "step", tidy)
        with pytest.raises(BrokerUnavailable):
            await relay.step()
    assert tidied == [BrokerNotReady]


async def test_a_broker_is_looked_at_once_in_a_tenure(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look reports what the broker may lose."""
    looks: list[int] = []
    relay = relay_of(store, broker)

    async def connect() -> None:
        looks.append(relay.leader.tenure)

    async def fails() -> Any:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(broker, "connect", connect)
    with monkeypatch.context() as patched:
        patched.setattr(store, "streams", fails)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                await relay.step()
    await drain(relay)
    assert looks == [1]
    await relay.leader.hand_back()
    await drain(relay)
    assert looks == [1, 2]


async def test_a_long_poll_keeps_no_relay_from_its_lease(store: OutboxStore, broker: Away) -> None:
    async with relay_of(store, broker, poll=3_600, lease=0.3) as leader:
        await eventually(lambda: leader.repairer.verified)
        async with relay_of(store, broker, poll=3_600, lease=0.3) as standby:
            await asyncio.sleep(0.9)
            assert (leader.leader.tenure, standby.leader.tenure) == (1, 0), "it was renewed"
            await leader.stop()
            await eventually(lambda: standby.repairer.verified)


async def test_behind_a_parked_event_of_an_older_copy_come_the_events_that_were_parked_later(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await write(store, 3)
    others = await write(store, 2, subject="another row")
    relay = relay_of(store, broker, trim_every=0.01)
    asked: list[int] = []
    newest_parked = broker.newest_parked

    async def counted(partition: Partition, group: str, rows: Sequence[RowKey]) -> Any:
        asked.append(len(rows))
        return await newest_parked(partition, group, rows)

    monkeypatch.setattr(broker, "newest_parked", counted)
    await store.add_group(PARTITION.model, "mail")
    await drain(relay)
    assert asked == [], "a stream that was never published to has lost nothing"
    row, other = (RowKey("app.receiver", subject) for subject in (SUBJECTS["0"], "another row"))
    await park_all(broker, {row: 3, other: 2})
    await rounds(relay)
    # The older copy has the first parked event of each row; the entries of the stream were trimmed.
    stream = broker._streams[PARTITION]
    for parked in stream.groups["mail"].parked.values():
        del parked[1:]
    stream.entries.clear()
    stream.epoch = "of the older copy"
    await rounds(relay)
    assert await on_stream(broker) == [*ids[1:], *others[1:]]
    assert asked == [2], "one question for all held rows of a group"


async def park_all(broker: Away, rows: Mapping[RowKey, int]) -> None:
    """Park the entries of a stream, the first ones behind the first row, and finish them."""
    lease = await broker.acquire(PARTITION, "mail", "w", 30)
    assert lease is not None
    entries = iter((await broker.fetch(lease, 100, inherit=False)).entries)
    for row, count in rows.items():
        after = START
        for entry in islice(entries, count):
            letter = DeadLetter(entry.id, row.receiver, "reason", 1, entry.fields)
            begin = after == START
            after = await broker.park(lease, row, letter, begin=begin, after=after) or START
            await broker.settle(lease, [entry.id], [letter.kept])
