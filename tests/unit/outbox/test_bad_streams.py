"""A stream that cannot be used holds up itself alone, whatever the relay does with the stream."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edgy_bus.brokers.base import PAGE, EntryId, StreamHead, StreamState
from edgy_bus.codec import Wire
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from tests.support import PARTITION, Told, eventually
from tests.unit.outbox.support import (
    OTHER,
    Away,
    count_all,
    count_pending,
    on_stream,
    read_all,
    relay_of,
    write,
)

STEPS = ("publish", "inspect", "progress", "trim")


class OneBadStream(Away):
    """A broker that refuses the calls named in `refuses` for one stream."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: set[str] = set()
        self.asked = 0

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        self._refuse("publish", partition)
        return await super().publish(partition, head, chunk)

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        self._refuse("inspect", partition)
        return await super().inspect(partition, head, fresh_epoch, count)

    async def progress(
        self, partition: Partition, head: StreamHead
    ) -> Mapping[str, EntryId] | None:
        self._refuse("progress", partition)
        return await super().progress(partition, head)

    async def trim(
        self,
        partition: Partition,
        head: StreamHead,
        below: EntryId,
        progress: Mapping[str, EntryId],
    ) -> int | None:
        self._refuse("trim", partition)
        return await super().trim(partition, head, below, progress)

    def _refuse(self, name: str, partition: Partition) -> None:
        if name in self.refuses and partition == PARTITION:
            self.asked += 1
            raise BrokerError(f"WRONGTYPE of {name}")


@pytest.fixture
def broker() -> OneBadStream:
    return OneBadStream()


def relay_over(store: OutboxStore, broker: OneBadStream, **settings: Any) -> Relay:
    return relay_of(store, broker, trim_every=0.02, retention=0.05, **settings)


async def stands_in(broker: OneBadStream, partition: Partition, ids: list[str]) -> bool:
    broker.refuses, refused = set(), broker.refuses
    published = await on_stream(broker, partition)
    broker.refuses = refused
    return published == ids


@pytest.mark.parametrize("refused", [*[{step} for step in STEPS], set(STEPS)], ids="+".join)
async def test_other_streams_are_published_tidied_and_pruned(
    store: OutboxStore, broker: OneBadStream, refused: set[str]
) -> None:
    first, there = await write(store, 3), await write(store, 3, OTHER)
    async with relay_over(store, broker) as relay:
        await eventually(lambda: relay.published == 6)
        broker.refuses = refused
        if "inspect" in refused:
            # Only a stream that does not stand at its head is inspected.
            broker._streams[PARTITION].epoch = None
        with Told() as told:
            more, elsewhere = await write(store, 3), await write(store, 3, OTHER)
            relay.bell.ring()
            await eventually(lambda: stands_in(broker, OTHER, [*there, *elsewhere]))
            if refused <= {"progress", "trim"}:
                await eventually(lambda: stands_in(broker, PARTITION, [*first, *more]))
            for partition in (PARTITION, OTHER):
                await read_all(broker, "mail", partition)
            await eventually(lambda: stands_in(broker, OTHER, elsewhere[-1:]))
            await eventually(lambda: told.of("stream.failed"))
        failed = told.of("stream.failed")
        assert {notice["partition"] for notice in failed} == {str(PARTITION)}
        assert len(failed) <= len(refused), "each error is reported once"
        assert not told.of("relay.failed")
        broker.refuses = set()
        await eventually(lambda: is_empty(store))


async def is_empty(store: OutboxStore) -> bool:
    return await count_pending(store) == 0 and await count_all(store) <= 1


async def test_everything_comes_in_order_when_the_stream_works_again(
    store: OutboxStore, broker: OneBadStream
) -> None:
    ids = await write(store, 3)
    relay = relay_of(store, broker, chunk=2)
    while await relay.step():
        pass
    broker.refuses = {"publish"}
    with Told() as told:
        ids += await write(store, 5)
        async with relay:
            await eventually(lambda: broker.asked > 2)
            assert relay.running
            broker.refuses = set()
            await eventually(lambda: stands_in(broker, PARTITION, ids))
    assert told.names().count("stream.failed") == told.names().count("stream.recovered") == 1


async def test_more_pending_rows_than_a_page_has_do_not_hide_other_streams(
    store: OutboxStore, broker: OneBadStream
) -> None:
    broker.refuses = {"publish"}
    await write(store, 30)
    there = await write(store, 30, OTHER)
    async with relay_of(store, broker, chunk=3, page=5):
        await eventually(lambda: stands_in(broker, OTHER, there))
    assert await count_pending(store) == 30


async def test_a_relay_that_starts_verifies_the_streams_that_can_be_used(
    store: OutboxStore, broker: OneBadStream
) -> None:
    first, there = await write(store, 2), await write(store, 2, OTHER)
    async with relay_of(store, broker) as relay:
        await eventually(lambda: relay.published == 4)
    await broker.erase()
    broker.refuses = {"inspect", "publish"}
    async with relay_of(store, broker):
        await eventually(lambda: stands_in(broker, OTHER, there))
        broker.refuses = set()
        await eventually(lambda: stands_in(broker, PARTITION, first))


async def test_the_relay_comes_back_after_a_growing_pause_and_does_not_spin(
    store: OutboxStore, broker: OneBadStream
) -> None:
    broker.refuses = set(STEPS)
    await write(store, 3)
    async with relay_of(store, broker, backoff=0.2, poll=0.01, trim_every=0.01):
        await asyncio.sleep(1.0)
    assert 4 <= broker.asked <= 20
