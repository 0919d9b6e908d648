"""Tidying: in slices between pages, and without a write where nothing has happened."""

from copy import deepcopy
from typing import Any

import pytest
from sqlalchemy import CompoundSelect, Executable, Select

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.events import Partition, partition_name, partitions_of
from edgy_bus.outbox import tidying
from edgy_bus.outbox.store import OutboxStore, TidyStore
from tests.support import PARTITION
from tests.unit.outbox.support import (
    Away,
    count_all,
    on_stream,
    read_all,
    relay_of,
    round_is_due,
    rounds,
    write,
)

MODEL, MANY = PARTITION.model, 16


async def fill(store: OutboxStore, partitions: int = MANY) -> None:
    """Write events to each of many partitions."""
    for number in range(200):
        name = partition_name(str(number), "", partitions)
        await write(store, 1, Partition(MODEL, name), subject=str(number))


async def test_a_round_goes_on_between_pages(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "SLICE", 0.0)  # a stream at a time
    await fill(store)
    relay = relay_of(store, broker, partitions=MANY, trim_every=1.0)
    while await relay.step():
        pass
    for partition in partitions_of(MODEL, MANY):
        await read_all(broker, "mail", partition)
    round_is_due(relay)
    trimmed: list[Partition] = []
    trim = broker.trim

    async def counted(partition: Partition, *rest: Any) -> Any:
        trimmed.append(partition)
        return await trim(partition, *rest)

    monkeypatch.setattr(broker, "trim", counted)
    assert await relay.step(), "the round goes on"
    assert await relay.step(), "after a model, a stream"
    assert len(trimmed) == 1
    place = Partition(MODEL, partition_name("0", "", MANY))
    late = await write(store, 1, place, subject="0")
    assert await relay.step()
    assert relay.published == 201, "before the round has ended"
    assert late[0] in await on_stream(broker, place)
    while await relay.step():
        pass
    assert set(trimmed) == set(partitions_of(MODEL, MANY))


async def test_a_stream_in_which_nothing_happened_costs_no_write(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    relay = relay_of(store, broker, partitions=MANY, trim_every=0.01)
    while await relay.step():
        pass
    for partition in partitions_of(MODEL, MANY):
        await read_all(broker, "mail", partition)
    calls: list[str] = []

    async def confirm(self: TidyStore, *where: Any) -> bool:
        calls.append("confirm")
        return await confirmed(self, *where)

    async def trim(*where: Any) -> int:
        calls.append("trim")
        return await trimmed(*where)

    confirmed, trimmed = TidyStore.confirm, broker.trim
    monkeypatch.setattr(TidyStore, "confirm", confirm)
    monkeypatch.setattr(broker, "trim", trim)
    await rounds(relay)
    assert calls.count("confirm") == calls.count("trim") == MANY
    await rounds(relay)
    assert calls.count("confirm") == calls.count("trim") == MANY


async def test_a_round_of_an_idle_outbox_writes_nothing(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, 3, age=100)
    relay = relay_of(store, broker, trim_every=0.01, retention=10)
    await rounds(relay)
    await read_all(broker, "mail")
    await rounds(relay)
    assert await count_all(store) == 1, "the newest row, which is old"
    written: list[Executable] = []
    run = Database.run

    async def watched(self: Database, statement: Executable, *rest: Any) -> Any:
        if not isinstance(statement, Select | CompoundSelect):
            written.append(statement)
        return await run(self, statement, *rest)

    monkeypatch.setattr(Database, "run", watched)
    await rounds(relay)
    assert not written


async def test_pruning_goes_on_until_nothing_old_is_left(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.outbox.store.tidying._PRUNED_AT_ONCE", 10)
    await write(store, 95, age=10**7)
    relay = relay_of(store, broker, trim_every=0.01)
    while await relay.step():
        pass
    round_is_due(relay)
    while await relay.step():
        pass
    assert await count_all(store) == 1


async def test_a_read_that_fails_leaves_every_stream_in_the_round(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store)
    relay = relay_of(store, broker, partitions=MANY, trim_every=1.0)
    while await relay.step():
        pass
    for partition in partitions_of(MODEL, MANY):
        await read_all(broker, "mail", partition)
    round_is_due(relay)
    standings, refusals = TidyStore.standings, iter([True])

    async def refused_once(self: TidyStore, *arguments: Any) -> Any:
        if next(refusals, False):
            raise DatabaseUnavailable("away")
        return await standings(self, *arguments)

    trimmed: list[Partition] = []
    trim = broker.trim

    async def counted(partition: Partition, *rest: Any) -> Any:
        trimmed.append(partition)
        return await trim(partition, *rest)

    monkeypatch.setattr(TidyStore, "standings", refused_once)
    monkeypatch.setattr(broker, "trim", counted)
    with pytest.raises(DatabaseUnavailable):
        while await relay.step():
            pass
    assert trimmed == []
    while await relay.step():
        pass
    assert set(trimmed) == set(partitions_of(MODEL, MANY)), "in the same round"


@pytest.mark.parametrize("many", [1, 32])
async def test_a_round_over_streams_at_rest_costs_the_same_for_any_number_of_streams(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    await fill(store, many)
    relay = relay_of(store, broker, partitions=many, trim_every=3_600)
    await rounds(relay)
    assert len(await store.streams()) == many
    statements: list[str] = []
    run = Database.run

    async def watched(self: Database, statement: Executable, *rest: Any) -> Any:
        statements.append(str(statement))
        return await run(self, statement, *rest)

    monkeypatch.setattr(Database, "run", watched)
    round_is_due(relay)
    while await relay.step():
        pass
    assert len(statements) == 3, "the streams, the groups, the oldest event"


async def test_a_stream_that_moves_after_a_rest_is_read_again_and_trimmed_in_the_round(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, 1)
    relay = relay_of(store, broker, partitions=1, trim_every=3_600)
    await rounds(relay)
    streams = store.streams

    async def and_then_an_event_is_published() -> Any:
        standings = await streams()
        monkeypatch.undo()
        await write(store, 1)
        await relay.publisher.step()
        await read_all(broker, "mail")
        return standings

    monkeypatch.setattr(store, "streams", and_then_an_event_is_published)
    round_is_due(relay)
    while await relay.step():
        pass
    head = (await store.heads())[PARTITION]
    assert (await store.streams())[PARTITION].confirmed == head.entry.next
    assert len(await on_stream(broker)) == 1


async def test_a_new_tenure_begins_a_new_round(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another relay has led since, and may have found new groups."""
    monkeypatch.setattr(tidying, "SLICE", 0.0)
    await fill(store)
    relay = relay_of(store, broker, partitions=MANY, trim_every=3_600)
    while await relay.step():
        pass
    for partition in partitions_of(MODEL, MANY):
        await read_all(broker, "mail", partition)
    round_is_due(relay)
    for _ in range(3):
        await relay.step()
    await relay.leader.hand_back()
    await store.add_group(MODEL, "found by another relay")
    trimmed: list[Partition] = []

    async def trim(partition: Partition, *_: Any) -> int | None:
        trimmed.append(partition)
        return 0

    monkeypatch.setattr(broker, "trim", trim)
    while await relay.step():
        pass
    assert trimmed == []


async def test_a_trim_that_was_refused_is_tried_again(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group went back after the relay had looked, and is where it was a round later."""
    await write(store, 5)
    relay = relay_of(store, broker, partitions=1, trim_every=3_600)
    await rounds(relay)
    await read_all(broker, "mail")

    async def refuse(*_: Any) -> None:
        return None

    with monkeypatch.context() as refusing:
        refusing.setattr(broker, "trim", refuse)
        await rounds(relay)
    assert len(await on_stream(broker)) == 5
    await rounds(relay)
    assert len(await on_stream(broker)) == 1


async def test_a_new_tenure_trims_again(store: OutboxStore, broker: Away) -> None:
    """The copy of the broker that took over may have lost the last trim, and nothing else."""
    await write(store, 5)
    relay = relay_of(store, broker, partitions=1, trim_every=3_600)
    await rounds(relay)
    await read_all(broker, "mail")
    before = deepcopy(broker._streams[PARTITION])
    await rounds(relay)
    assert len(await on_stream(broker)) == 1
    broker._streams[PARTITION] = before
    await relay.leader.hand_back()
    await rounds(relay)
    assert len(await on_stream(broker)) == 1
