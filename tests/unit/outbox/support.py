"""An outbox in a SQLite file, relays over it, and a broker in memory that can be away."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, func, select, update

from edgy_bus.brokers.base import EntryId, Lease, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire
from edgy_bus.database import Database
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import Partition, new_event_id, partition_name
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore, PageSize
from edgy_bus.outbox.table import outbox, pending
from edgy_bus.services import Bell
from edgy_bus.settings import RelaySettings
from tests.support import PARTITION

OTHER = Partition("accounts.User", "1")
SUBJECTS = {
    label: next(str(key) for key in range(99) if partition_name(str(key), "", 2) == label)
    for label in "01"
}
"""A row of either of two partitions."""


class Away(MemoryBroker):
    """A broker whose publisher's side stops answering when it is told to."""

    def __init__(self, *clock: Callable[[], float]) -> None:
        super().__init__(*clock)
        self.away = False
        self.published: list[int] = []
        self.lose_next_answer = False

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        self._answer()
        return await super().acquire(partition, role, owner, ttl)

    async def renew(self, lease: Lease, ttl: float) -> bool:
        self._answer()
        return await super().renew(lease, ttl)

    async def publish(
        self, partition: Partition, head: StreamHead, chunk: Sequence[Wire]
    ) -> list[EntryId] | None:
        self._answer()
        entries = await super().publish(partition, head, chunk)
        self.published.append(len(chunk))
        if self.lose_next_answer:
            self.lose_next_answer = False
            raise BrokerUnavailable("the answer was lost")
        return entries

    def _answer(self) -> None:
        if self.away:
            raise BrokerUnavailable("away")


def relay_of(
    store: OutboxStore, broker: MemoryBroker, partitions: int = 2, **settings: Any
) -> Relay:
    return Relay(
        store=store,
        broker=broker,
        models=lambda: {"accounts.User": partitions},
        settings=RelaySettings(**{"poll": 0.05, "backoff": 0.05, "keep": 0, **settings}),
        bell=Bell(),
    )


async def write(
    store: OutboxStore,
    count: int,
    partition: Partition = PARTITION,
    *,
    age: float = 0.0,
    **columns: Any,
) -> list[str]:
    """Put events into the outbox, as if they were written `age` seconds ago; their ids."""
    rows: list[Mapping[str, Any]] = [
        {
            "model": partition.model,
            "label": partition.name,
            "event_id": new_event_id(),
            "signal": "post_save",
            "subject": SUBJECTS.get(partition.name),
            "time": "2026-01-01T00:00:00+00:00",
            "traceparent": None,
            "data": "{}",
            "source": store.service,
            **columns,
        }
        for _ in range(count)
    ]
    async with store.database.transaction():
        await store.append(rows)
        ids = [row["event_id"] for row in rows]
        older = update(outbox).where(outbox.c.event_id.in_(ids))
        if age:
            await store.database.run(older.values(created=outbox.c.created - int(age * 1000)))
    return ids


async def count_pending(store: OutboxStore) -> int:
    """The number of events that are not in their stream, of all services."""
    return await _count(store, pending)


async def count_all(store: OutboxStore) -> int:
    """The number of events in the outbox, of all services."""
    return await _count(store, outbox)


async def _count(store: OutboxStore, table: Table) -> int:
    [row] = (await store.database.run(select(func.count().label("n")).select_from(table))).rows
    return int(row["n"])


def up_to(rows: int) -> PageSize:
    """A page of so many rows, whatever their size."""
    return PageSize(rows, 1_000_000_000)


def round_is_due(relay: Relay) -> None:
    """Let the next step of a relay begin a round of tidying."""
    relay.tidier._next_round = 0.0


async def rounds(relay: Relay) -> None:
    """Let a relay look after every stream a few times."""
    for _ in range(3):
        round_is_due(relay)
        while await relay.step():
            pass
        assert relay.tidier._next_round > 0.0, "no round has begun"


async def on_stream(broker: MemoryBroker, partition: Partition = PARTITION) -> list[str]:
    """The ids of the events in a stream, in order."""
    state = await broker.inspect(partition, StreamHead("nobody's"), "fresh", 1_000_000)
    return [mark.event_id for mark in state.behind]


async def read_all(
    broker: MemoryBroker, group: str, partition: Partition = PARTITION
) -> list[EntryId]:
    """Read and finish everything in a stream, as a group does."""
    lease = await broker.acquire(partition, group, "reader", 30)
    assert lease is not None
    fetched = await broker.fetch(lease, 10_000, inherit=False)
    entries = [entry.id for entry in fetched.entries]
    await broker.settle(lease, entries)
    await broker.release(lease)
    return entries


async def store_in(url: str) -> OutboxStore:
    """The outbox of a database that the caller disconnects."""
    store = OutboxStore(Database(url), "accounts")
    await store.database.connect()
    await store.prepare()
    return store
