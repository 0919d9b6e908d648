"""The outbox's tables on SQLite and PostgreSQL: pending, published and confirmed events."""

import asyncio
import datetime as dt
import os
from random import Random
from typing import Any

import pytest
from sqlalchemy import Executable, delete, func, insert, select, text

from edgy_bus.brokers.base import EntryId, Landmark, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import HeaderPacker, loads, unpack
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import Chunk, Incarnations, OutboxStore, PageSize
from edgy_bus.outbox.table import chunks, meta, metadata, outbox, pending, streams
from tests.support import PARTITION, Told, eventually
from tests.unit.outbox.support import (
    OTHER,
    Away,
    count_all,
    count_pending,
    on_stream,
    read_all,
    relay_of,
    up_to,
    write,
)


@pytest.fixture
async def store(database: Database) -> OutboxStore:
    one = OutboxStore(database, "accounts")
    await one.prepare()
    return one


async def waiting(store: OutboxStore) -> list[int]:
    return [
        row["id"] for row in (await store.database.run(select(pending).order_by(pending.c.id))).rows
    ]


async def published(store: OutboxStore) -> int:
    return int(
        (await store.database.run(select(func.count().label("n")).select_from(chunks))).rows[0]["n"]
    )


async def all_published(store: OutboxStore) -> bool:
    return await count_pending(store) == 0


async def stand(store: OutboxStore, *entries: int, epoch: str = "e") -> StreamHead:
    """Mark what is pending as appended at these entries; answers the head."""
    await store.add_stream(PARTITION)
    page = (await store.pending(up_to(1_000)))[PARTITION]
    rows = page.rows[: len(entries)]
    new = StreamHead(epoch, EntryId(entries[-1], 0), rows[-1].event_id)
    placed = Placed([row.id for row in rows], [EntryId(one, 0) for one in entries])
    assert await store.mark([Chunk(PARTITION, page.head or StreamHead(), new, placed)]) == [True]
    return new


def landmark(
    entry: int, event_id: str, sequence: int | None, incarnation: int = 1, subject: str = "1"
) -> Landmark:
    head = HeaderPacker("accounts", PARTITION.model).pack(
        event_id,
        "post_save",
        subject=subject,
        time="now",
        sequence=sequence,
        incarnation=incarnation,
        traceparent=None,
    )
    return Landmark(EntryId(entry, 0), event_id, head)


async def test_what_is_marked_is_not_pending_and_stands_in_the_ledger(store: OutboxStore) -> None:
    await write(store, 3)
    await stand(store, 10, 11)
    assert await waiting(store) == [3]
    assert await published(store) == 1


async def test_batches_are_marked_or_not_each_by_its_own_head(store: OutboxStore) -> None:
    await write(store, 2)
    await write(store, 2, OTHER)
    for partition in (PARTITION, OTHER):
        await store.add_stream(partition)
    wrong, new = StreamHead("another"), StreamHead("e", EntryId(5, 1), "x")
    both = [
        Chunk(OTHER, wrong, new, Placed([3, 4], [EntryId(5, 0), EntryId(5, 1)])),
        Chunk(PARTITION, StreamHead(), new, Placed([1, 2], [EntryId(5, 0), EntryId(5, 1)])),
    ]
    assert await store.mark(both) == [False, True]
    assert await waiting(store) == [3, 4]
    assert (await store.heads()) == {PARTITION: new, OTHER: StreamHead()}
    assert await published(store) == 1


async def test_what_is_confirmed_leaves_the_ledger_batch_by_batch(store: OutboxStore) -> None:
    await write(store, 4)
    await stand(store, 10, 11)
    head = await stand(store, 12, 13)
    assert not await store.tidying.confirm(PARTITION, StreamHead("another"), EntryId(13, 0))
    assert await store.tidying.confirm(PARTITION, head, EntryId(12, 0))
    assert await published(store) == 1
    assert await store.tidying.confirm(PARTITION, head, EntryId(13, 0))
    assert await published(store) == 1, "the last of the chunk is not below"


async def test_what_is_confirmed_stays_so_when_a_group_begins_anew(store: OutboxStore) -> None:
    await write(store, 4)
    head = await stand(store, 10, 11, 12, 13)
    assert await store.tidying.confirm(PARTITION, head, EntryId(12, 5))
    assert await store.tidying.confirm(PARTITION, head, EntryId(12, 3))
    assert await store.tidying.confirm(PARTITION, head, EntryId(0, 9))
    repair = await store.repairs.resynchronise(PARTITION, head, StreamHead("another"), [])
    assert repair.done
    assert await waiting(store) == [4]


async def test_after_a_loss_what_was_not_confirmed_and_is_not_found_is_pending_again(
    store: OutboxStore,
) -> None:
    ids = await write(store, 6)
    await stand(store, 10, 11, 12, 13, 14)
    head = (await store.heads())[PARTITION]
    assert await store.tidying.confirm(PARTITION, head, EntryId(12, 0))
    new = StreamHead("f", EntryId(3, 0), ids[3])
    found = await store.repairs.recognise(
        [landmark(2, ids[0], 1), landmark(3, ids[3], 4), landmark(4, "forged", None)]
    )
    assert found.placed == Placed([1, 4], [EntryId(2, 0), EntryId(3, 0)])
    assert found.strangers == 0
    assert (await store.repairs.resynchronise(PARTITION, head, new, [found])).done
    assert await waiting(store) == [3, 5, 6], "1 and 2 were confirmed, 4 was found"
    again = StreamHead("g")
    assert (await store.repairs.resynchronise(PARTITION, new, again, [])).done
    assert await waiting(store) == [3, 4, 5, 6]
    assert not (await store.repairs.resynchronise(PARTITION, new, again, [])).done


async def test_behind_older_events_that_came_back_finished_events_are_pending_again(
    store: OutboxStore,
) -> None:
    ids = [(await write(store, 1, subject=row))[0] for row in ("1", "2", "3", "1", "2", "1")]
    other = await write(store, 1, OTHER, subject="1")
    head = await stand(store, 10, 11, 12, 13, 14, 15)
    assert await store.tidying.confirm(PARTITION, head, EntryId(16, 0))
    # The older copy has the first events of rows 1 and 2, and the only event of row 3.
    first, second, third = (
        landmark(entry, ids[entry - 10], entry - 9, subject=row)
        for entry, row in ((10, "1"), (11, "2"), (12, "3"))
    )
    pages = [await store.repairs.recognise(marks) for marks in ([first, second], [third])]
    new = StreamHead("f", third.entry, third.event_id)
    repair = await store.repairs.resynchronise(PARTITION, head, new, pages)
    assert (repair.done, repair.again) == (True, 3)
    assert await waiting(store) == [4, 5, 6, 7], f"7 is {other}, which was never published"


async def test_only_finished_events_count_as_sent_again(store: OutboxStore) -> None:
    """Unfinished events of a lost stream are pending again without an older event of their row."""
    ids = [(await write(store, 1, subject="1"))[0] for _ in range(5)]
    await stand(store, 10, 11)
    head = await stand(store, 12, 13)
    assert await store.tidying.confirm(PARTITION, head, EntryId(12, 0))
    found = await store.repairs.recognise([landmark(10, ids[0], 1)])
    new = StreamHead("f", EntryId(10, 0), ids[0])
    repair = await store.repairs.resynchronise(PARTITION, head, new, [found])
    assert repair.again == 1, "2 was finished, 3 and 4 were not, 5 is pending"
    assert await waiting(store) == [2, 3, 4, 5]


async def test_a_repair_searches_the_outbox_before_its_transaction(
    store: OutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction keeps marks and commits of others waiting."""
    ids = await write(store, 2_500, subject="1")
    head = await stand(store, 10)
    found = await store.repairs.recognise([landmark(10, ids[0], 1)])
    searched: list[bool] = []
    run = Database.run

    async def watched(self: Database, statement: Executable, *rest: Any) -> Any:
        if "after" in str(statement):
            searched.append(self.in_transaction)
        return await run(self, statement, *rest)

    monkeypatch.setattr(Database, "run", watched)
    new = StreamHead("f", EntryId(10, 0), ids[0])
    assert (await store.repairs.resynchronise(PARTITION, head, new, [found])).done
    assert searched == [False], "pending events are not looked through"


async def test_a_long_outbox_is_searched_to_its_end_for_what_came_behind(
    store: OutboxStore,
) -> None:
    (first,) = await write(store, 1, subject="1")
    await write(store, 1_500, subject="2")
    await write(store, 1, subject="1")
    await stand(store, *range(10, 1_010))
    head = await stand(store, *range(1_010, 1_512))
    assert await store.tidying.confirm(PARTITION, head, EntryId(2_000, 0))
    found = await store.repairs.recognise([landmark(10, first, 1)])
    new = StreamHead("f", EntryId(10, 0), first)
    assert (await store.repairs.resynchronise(PARTITION, head, new, [found])).again == 1
    assert await waiting(store) == [1_502]


async def test_in_the_same_epoch_only_what_is_found_changes(store: OutboxStore) -> None:
    ids = await write(store, 3)
    head = await stand(store, 10)
    new = StreamHead("e", EntryId(11, 0), ids[1])
    found = await store.repairs.recognise([landmark(11, ids[1], 2)])
    assert (await store.repairs.resynchronise(PARTITION, head, new, [found])).done
    assert await waiting(store) == [3]
    lost = StreamHead("f")
    await store.repairs.resynchronise(PARTITION, new, lost, [])
    assert await waiting(store) == [1, 2, 3]


async def test_an_event_is_recognised_by_its_number_and_its_id(store: OutboxStore) -> None:
    (event_id,) = await write(store, 1)
    found = await store.repairs.recognise(
        [landmark(1, event_id, 1), landmark(2, "other", 1), landmark(3, event_id, 2**62)]
    )
    assert found.placed.ids == [1]
    assert found.strangers == 1
    hostile = [
        Landmark(EntryId(1, 0), event_id, head) for head in (b"", b"[]", b"\xff", b'{"sequence":1}')
    ]
    huge = landmark(1, "x", 2**63), landmark(1, "x", 5, 2**40), landmark(1, "x", -1)
    assert await store.repairs.recognise([*hostile, *huge]) == (Placed([], []), 0, {})


async def test_pruning_keeps_what_is_pending_what_is_younger_and_the_newest(
    store: OutboxStore,
) -> None:
    await write(store, 3, age=30)
    await write(store, 1, age=10)
    await write(store, 1, age=30)
    await stand(store, 1, 2)
    assert await store.tidying.prune(20) == 2
    assert await waiting(store) == [3, 4, 5]
    await stand(store, 4, 5, 6)
    assert await store.tidying.prune(20) == 1
    assert await store.tidying.prune(5) == 1
    assert await store.tidying.prune(5) == 0
    rows = (await store.database.run(select(outbox.c.id))).rows
    assert [row["id"] for row in rows] == [5], "the newest row tells which numbers were given out"


async def test_an_event_that_somebody_deleted_holds_up_nothing(store: OutboxStore) -> None:
    await write(store, 5)
    await store.database.run(delete(outbox).where(outbox.c.id < 4))
    assert await store.pending(up_to(3)) == {}
    assert [row.id for row in (await store.pending(up_to(3)))[PARTITION].rows] == [4, 5]


async def test_a_page_is_bounded_by_bytes_and_has_one_event_at_least(store: OutboxStore) -> None:
    await write(store, 2, data="é" * 500)
    await write(store, 3, OTHER, data="{}")
    await write(store, 1, data="x" * 100_000)
    await write(store, 1)

    async def ids(size: PageSize, *avoided: Partition) -> list[int]:
        page = await store.pending(size, avoided)
        return sorted(row.id for stream in page.values() for row in stream.rows)

    assert await ids(PageSize(10, 1)) == [1]
    assert await ids(PageSize(10, 1_000)) == [1], "an é has two bytes"
    assert await ids(PageSize(10, 1_001)) == [1, 2]
    assert await ids(PageSize(10, 2_001)) == [1, 2, 3]
    assert await ids(PageSize(10, 2_007)) == [1, 2, 3, 4, 5, 6]
    assert await ids(PageSize(10, 102_007)) == [1, 2, 3, 4, 5, 6, 7]
    assert await ids(PageSize(10, 7), PARTITION) == [3, 4, 5]
    assert await ids(PageSize(10, 3), PARTITION) == [3, 4]


async def test_partitions_that_are_avoided_are_passed_over_whatever_they_hold(
    store: OutboxStore,
) -> None:
    await write(store, 5)
    await write(store, 3, OTHER)
    await write(store, 2)
    await stand(store, 10)
    page = await store.pending(up_to(2), {PARTITION})
    assert [row.id for row in page[OTHER].rows] == [6, 7]
    assert page.keys() == {OTHER}
    page = await store.pending(up_to(100), {OTHER, Partition("no.Model", "0")})
    assert [row.id for row in page[PARTITION].rows] == [2, 3, 4, 5, 9, 10]
    assert page[PARTITION].head is not None
    assert await store.pending(up_to(100), {PARTITION, OTHER}) == {}
    await store.database.run(delete(outbox).where(outbox.c.id < 4))
    assert [row.id for row in (await store.pending(up_to(4), {PARTITION}))[OTHER].rows] == [6, 7]
    assert await waiting(store) == [4, 5, 6, 7, 8, 9, 10], "ids without an event go all the same"


async def test_a_row_is_published_with_the_attributes_that_it_has(store: OutboxStore) -> None:
    await write(store, 1)
    await write(
        store,
        1,
        source="billing",
        to="mail/send",
        causation="e0",
        context='{"actor":"ada"}',
    )
    broker = Away()
    await drain(store, broker)
    plain, full = (loads(fields[b"head"]) for fields in broker._streams[PARTITION].entries.values())
    assert plain["source"] == "accounts", "the relay's own service, as older releases write"
    extensions = {"source": "billing", "to": "mail/send", "causationid": "e0", "actor": "ada"}
    assert full.items() >= extensions.items()
    assert full.keys() - plain.keys() == {"to", "causationid", "actor"}


async def test_relays_that_meet_a_new_stream_or_group_at_once_agree(store: OutboxStore) -> None:
    await write(store, 1)
    head = await stand(store, 10)
    both = [PARTITION, OTHER] * 10
    await asyncio.gather(
        *(store.add_stream(partition) for partition in both),
        *(store.add_group(PARTITION.model, "mail") for _ in both),
    )
    assert await store.heads() == {PARTITION: head, OTHER: StreamHead()}
    assert await store.groups() == {PARTITION.model: {"mail"}}


async def test_forty_writers_and_a_relay(database: Database, store: OutboxStore) -> None:
    """Ids become visible in any order. No event is missed; the events of a row keep their order.

    `EDGY_BUS_ROUNDS` makes it longer: each of the writers' rounds writes two rows on average.
    """
    random, broker, rounds = Random(5), Away(), int(os.environ.get("EDGY_BUS_ROUNDS", "25"))
    relay = relay_of(store, broker, poll=0.01, chunk=7, page=40, trim_every=3_600)

    async def writer(number: int) -> None:
        for _ in range(rounds):
            async with database.transaction():
                await write(
                    store, random.choice((1, 3)), (PARTITION, OTHER)[number % 2], time=str(number)
                )
                await asyncio.sleep(random.choice((0, 0.002)))

    async with relay:
        await asyncio.gather(*(writer(number) for number in range(40)))
        await eventually(lambda: all_published(store), "publishing")
    rows = (await database.run(select(outbox).order_by(outbox.c.id))).rows
    assert len(rows) >= 40 * rounds
    for partition in (PARTITION, OTHER):
        assert sorted(await on_stream(broker, partition)) == sorted(
            row["event_id"] for row in rows if row["label"] == partition.name
        )
    for partition in (PARTITION, OTHER):
        told: dict[str, list[int]] = {}
        for fields in broker._streams[partition].entries.values():
            envelope = unpack(fields)
            assert envelope.sequence is not None
            told.setdefault(envelope.time, []).append(envelope.sequence)
        assert all(numbers == sorted(numbers) for numbers in told.values())


async def test_the_last_rows_are_those_of_the_transaction(store: OutboxStore) -> None:
    for count in (1, 2, 1, 30):
        await write(store, count)
    assert await waiting(store) == list(range(1, 35))


async def test_the_number_of_an_event_that_was_deleted_is_not_given_out_again(
    store: OutboxStore,
) -> None:
    await write(store, 3)
    for table in (pending, outbox):
        await store.database.run(delete(table))
    await write(store, 1)
    assert await waiting(store) == [4]


async def test_a_database_that_may_lose_what_it_has_confirmed_is_told(
    postgres_url: str, sqlite_url: str
) -> None:
    async def told_with(setting: str) -> list[str]:
        options = {"server_settings": {"synchronous_commit": setting}}
        async with Database(postgres_url, **options) as database:
            with Told() as told:
                await OutboxStore(database, "accounts").prepare()
        return [
            name for fields in told.of("outbox.not_durable") for name in fields["off"].split(", ")
        ]

    assert "synchronous_commit" in await told_with("off")
    assert "synchronous_commit" not in await told_with("on")
    async with Database(sqlite_url) as database:
        with Told() as told:
            await OutboxStore(database, "accounts").prepare()
    assert not told.of("outbox.not_durable")


OWN = """
    CREATE SEQUENCE "own's" {};
    ALTER TABLE edgy_bus_outbox ALTER id SET DEFAULT nextval('"own''s"');
    """
"""A sequence that an operator made."""

WRONG_SEQUENCES = [
    "ALTER SEQUENCE edgy_bus_outbox_id_seq CACHE 20",
    "ALTER SEQUENCE edgy_bus_outbox_id_seq INCREMENT -1 MAXVALUE 10000",
    "ALTER SEQUENCE edgy_bus_outbox_id_seq INCREMENT -1 MINVALUE -100 MAXVALUE 10000",
    "ALTER SEQUENCE edgy_bus_outbox_id_seq CYCLE MAXVALUE 100",
    OWN.format("CACHE 2 START 500"),
    OWN.format("INCREMENT -1"),
    OWN.format("INCREMENT -1 MINVALUE 5 MAXVALUE 50"),
    OWN.format("CYCLE START 1000"),
]


async def draws(database: Database, store: OutboxStore) -> list[int]:
    """Write events, one after another, and return their ids in this order."""
    ids: list[int] = []
    newest = select(outbox.c.id)
    for _ in range(4):
        [event_id] = await write(store, 1)
        rows = (await database.run(newest.where(outbox.c.event_id == event_id))).rows
        ids.append(rows[0]["id"])
    return ids


@pytest.mark.parametrize("wrong", WRONG_SEQUENCES)
async def test_ids_that_would_not_rise_are_refused_with_the_repair(
    postgres_url: str, wrong: str
) -> None:
    async with Database(postgres_url) as database:
        store = OutboxStore(database, "accounts")
        await store.prepare()
        before = await draws(database, store)
        await database.script(wrong)
        if "MAXVALUE 10000" not in wrong:
            before += await draws(database, store)
        with pytest.raises(ConfigurationError, match=r"the sequence .* of the outbox") as refused:
            await OutboxStore(database, "accounts").prepare()
        await database.script(str(refused.value).partition("start them again:")[2])
        await OutboxStore(database, "accounts").prepare()
        after = await draws(database, store)
        newest = max(*before, 0)
        assert after == [newest + 1, newest + 2, newest + 3, newest + 4]


async def test_events_keep_the_time_of_the_database(
    store: OutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 10.0)
    monkeypatch.setattr("time.time_ns", lambda: 10 * 10**9)
    await write(store, 1)
    await write(store, 2)
    assert await waiting(store) == [1, 2, 3]
    await stand(store, 1, 2, 3)
    assert await store.tidying.prune(3600) == 0
    rows = (await store.database.run(select(outbox.c.created))).rows
    rows += (await store.database.run(select(chunks.c.created))).rows
    now = dt.datetime.now(dt.UTC).timestamp() * 1000
    assert all(abs(row["created"] - now) < 3_600_000 for row in rows)


async def test_a_copy_of_a_database_is_another_outbox_and_reported_once(postgres_url: str) -> None:
    async with Database(postgres_url) as database:
        original = OutboxStore(database, "accounts")
        await original.prepare()
        again = OutboxStore(database, "accounts")
        with Told() as told:
            await again.prepare()
            # In the copy, the entry has another home than the database.
            value, _, _ = original.id.partition(".")
            await database.run(
                meta.update().where(meta.c.value == original.id).values(value=f"{value}.0")
            )
            copies = [OutboxStore(database, "accounts") for _ in range(3)]
            await asyncio.gather(*(copy.prepare() for copy in copies))
    assert again.id == original.id
    [own] = {copy.id for copy in copies}
    assert own.partition(".")[0] != value
    assert told.of("outbox.copied") == [{"outbox": own, "former": f"{value}.0"}]


async def test_an_id_of_the_release_before_stays(store: OutboxStore) -> None:
    entry = meta.c.name == "outbox.id"
    await store.database.run(meta.update().where(entry).values(value="ab" * 16))
    with Told() as told:
        await store.prepare()
    assert store.id == "ab" * 16
    assert not told.of("outbox.copied")


# Services that share tables

BILLS = Partition("billing.Bill", "0")
OF_A_LONGER_NAME = Partition("accounts.eu.User", "0")


async def test_a_service_sees_only_its_own_events_streams_and_groups(store: OutboxStore) -> None:
    billing = OutboxStore(store.database, "billing")
    abroad = OutboxStore(store.database, "accounts.eu")
    for each, partition in ((billing, BILLS), (abroad, OF_A_LONGER_NAME), (store, PARTITION)):
        await write(each, 3, partition)
        await each.add_stream(partition)
        await each.add_group(partition.model, "mail")
    for each, partition in ((billing, BILLS), (abroad, OF_A_LONGER_NAME), (store, PARTITION)):
        # A page that the others' rows would fill.
        page = await each.pending(up_to(2))
        assert {place: len(of.rows) for place, of in page.items()} == {partition: 2}
        assert (
            len((await each.pending(up_to(9), [PARTITION])).get(partition, page[partition]).rows)
            >= 2
        )
        assert list(await each.heads()) == [partition]
        assert await each.groups() == {partition.model: {"mail"}}
    assert await billing.forget_group("mail") == 1
    assert await store.groups() == {PARTITION.model: {"mail"}}


async def test_each_relay_of_shared_tables_publishes_the_events_of_its_service(
    store: OutboxStore,
) -> None:
    billing = OutboxStore(store.database, "billing")
    ours, theirs = Away(), Away()
    bills = await write(billing, 3, BILLS)
    users = await write(store, 3)
    await drain(store, ours)
    assert await on_stream(ours, PARTITION) == users
    assert await on_stream(ours, BILLS) == []
    await drain(billing, theirs)
    assert await on_stream(theirs, BILLS) == bills
    assert await count_pending(store) == 0


# A database that is an earlier state of itself


async def copy_of(database: Database) -> dict[str, list[dict[str, object]]]:
    """What its tables hold."""
    return {
        table.name: list((await database.run(select(table))).rows)
        for table in metadata.sorted_tables
    }


async def restore(database: Database, copy: dict[str, list[dict[str, object]]]) -> None:
    """Put a backup back, and with it the numbers that are given out next."""
    for table in metadata.sorted_tables:
        await database.run(delete(table))
        await database.run_many(insert(table), copy[table.name])
    newest = max((int(str(row["id"])) for row in copy["edgy_bus_outbox"]), default=0)
    if database.dialect.name == "postgresql":
        await database.run(
            text(
                "SELECT setval(pg_get_serial_sequence('edgy_bus_outbox', 'id'), "
                f"{max(newest, 1)}, {newest > 0})"
            )
        )
    else:
        await database.run(
            text(f"UPDATE sqlite_sequence SET seq = {newest} WHERE name = 'edgy_bus_outbox'")
        )


def numbers(broker: MemoryBroker) -> list[tuple[int | None, int]]:
    """Sequence and incarnation of the events in the stream."""
    envelopes = [unpack(fields) for fields in broker._streams[PARTITION].entries.values()]
    return [(one.sequence, one.incarnation) for one in envelopes]


async def drain(store: OutboxStore, broker: Away) -> None:
    relay = relay_of(store, broker, lease=0.2)
    await eventually(relay.leader.step, "the lease")
    while await relay.step():
        pass
    await relay.leader.hand_back()


async def test_a_restored_database_begins_another_incarnation(store: OutboxStore) -> None:
    broker = Away()
    old = await write(store, 2)
    await drain(store, broker)
    backup = await copy_of(store.database)
    lost = await write(store, 3)
    await drain(store, broker)
    await restore(store.database, backup)
    new = await write(store, 2)
    with Told() as told:
        await drain(store, broker)
        await drain(store, broker)
    assert await on_stream(broker) == old + lost + new
    assert numbers(broker) == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (3, 2), (4, 2)]
    assert told.of("relay.restored") == [{"partition": str(PARTITION), "incarnation": 2}]


async def test_it_is_noticed_before_anything_new_was_written(store: OutboxStore) -> None:
    broker = Away()
    await write(store, 1)
    await drain(store, broker)
    backup = await copy_of(store.database)
    await write(store, 2)
    await drain(store, broker)
    await restore(store.database, backup)
    with Told() as told:
        await drain(store, broker)
    assert len(told.of("relay.restored")) == 1
    await write(store, 1)
    await drain(store, broker)
    assert numbers(broker)[-1] == (2, 2)


async def test_restored_twice_from_the_same_backup(store: OutboxStore) -> None:
    broker = Away()
    await write(store, 1)
    await drain(store, broker)
    backup = await copy_of(store.database)
    for _ in range(3):
        await write(store, 1)
        await drain(store, broker)
        await restore(store.database, backup)
    await write(store, 1)
    await drain(store, broker)
    assert numbers(broker) == [(1, 1), (2, 1), (2, 2), (2, 3), (2, 4)]


async def test_what_was_known_before_the_backup_keeps_its_incarnation(store: OutboxStore) -> None:
    """Its effects behind an inbox have happened, and are not to happen again."""
    broker = Away()
    first = await write(store, 2)
    await drain(store, broker)
    backup = await copy_of(store.database)
    await write(store, 3)
    await drain(store, broker)
    # Every entry was read and trimmed, up to the newest: the stream no longer contains the head of
    # the restored database.
    await read_all(broker, "mail")
    stream = broker._streams[PARTITION]
    for entry in list(stream.entries)[:-1]:
        del stream.entries[entry]
    await restore(store.database, backup)
    new = await write(store, 1)
    await drain(store, broker)
    assert await on_stream(broker) == first + new
    assert numbers(broker) == [(1, 1), (2, 1), (3, 2)]


async def test_an_empty_database_that_meets_a_stream_is_the_same_case(store: OutboxStore) -> None:
    broker = Away()
    await write(store, 2)
    await drain(store, broker)
    await restore(store.database, {table.name: [] for table in metadata.sorted_tables})
    with Told() as told:
        await write(store, 1)
        await drain(store, broker)
    assert numbers(broker) == [(1, 1), (2, 1), (1, 2)]
    assert len(told.of("relay.restored")) == 1


async def test_a_loss_of_the_broker_and_pruned_rows_are_no_restore(store: OutboxStore) -> None:
    broker = Away()
    await write(store, 3, age=30)
    await write(store, 1)
    await drain(store, broker)
    await store.tidying.prune(20)
    assert await count_all(store) == 1
    broker._streams[PARTITION].epoch = None
    with Told() as told:
        await drain(store, broker)
        await broker.erase()
        await drain(store, broker)
    assert told.of("relay.restored") == []
    assert [fields["lost"] for fields in told.of("relay.resynchronised")] == [True, True]
    assert numbers(broker) == [(4, 1)]


async def test_what_a_forger_put_there_raises_the_incarnation_once(store: OutboxStore) -> None:
    broker = Away()
    await write(store, 1)
    await drain(store, broker)
    stream = broker._streams[PARTITION]
    forged = landmark(1, "forged", 10**6)
    stream.last = EntryId(stream.last.ms, stream.last.seq + 1)
    stream.entries[stream.last] = {b"id": b"forged", b"head": forged.header, b"data": b"{}"}
    with Told() as told:
        for _ in range(3):
            await drain(store, broker)
            stream.epoch = None
    assert len(told.of("relay.restored")) == 1
    assert Incarnations(2, 1, 1) == Incarnations(
        *(
            await store.database.run(
                select(streams.c.incarnation, streams.c.since, streams.c.former)
            )
        )
        .rows[0]
        .values()
    )
