"""Tidying: in slices between pages, and without a write where nothing has happened."""

import asyncio
from typing import Any

import pytest

from edgy_bus.events import Partition, partition_name, partitions_of
from edgy_bus.outbox import tidying
from edgy_bus.outbox.store import OutboxStore, TidyStore
from tests.support import PARTITION
from tests.unit.outbox.support import Away, on_stream, read_all, relay_of, write

MODEL, MANY = PARTITION.model, 16


async def fill(store: OutboxStore) -> None:
    """Write an event to each of many partitions."""
    for number in range(200):
        name = partition_name(str(number), "", MANY)
        await write(store, 1, Partition(MODEL, name), subject=str(number))


async def test_a_round_goes_on_between_pages(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "SLICE", 0.0)  # a stream at a time
    await fill(store)
    relay = relay_of(store, broker, partitions=MANY, trim_every=1.0)
    while await relay.step():
        pass
    await asyncio.sleep(1.0)
    inspected: list[Partition] = []
    inspect = broker.inspect

    async def counted(partition: Partition, *rest: Any) -> Any:
        inspected.append(partition)
        return await inspect(partition, *rest)

    monkeypatch.setattr(broker, "inspect", counted)
    assert await relay.step(), "the round goes on"
    assert len(inspected) == 1
    place = Partition(MODEL, partition_name("0", "", MANY))
    late = await write(store, 1, place, subject="0")
    assert await relay.step()
    assert relay.published == 201, "before the round has ended"
    assert late[0] in await on_stream(broker, place)
    while await relay.step():
        pass
    assert set(inspected) == set(partitions_of(MODEL, MANY))


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
    for _ in range(5):
        await asyncio.sleep(0.02)
        while await relay.step():
            pass
    assert calls.count("confirm") == calls.count("trim") == MANY


async def test_pruning_goes_on_until_nothing_old_is_left(
    store: OutboxStore, broker: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.outbox.store.tidying._PRUNED_AT_ONCE", 10)
    await write(store, 95, created=10)
    relay = relay_of(store, broker, trim_every=0.01)
    while await relay.step():
        pass
    await asyncio.sleep(0.02)
    while await relay.step():
        pass
    assert await store.count_all() == 1
