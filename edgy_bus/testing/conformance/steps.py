"""The steps of which the tests of the suite consist."""

from collections.abc import Awaitable, Callable

from edgy_bus.brokers.base import (
    START,
    Broker,
    DeadLetter,
    Entry,
    EntryId,
    Lease,
    RowKey,
    StreamHead,
)
from edgy_bus.codec import Wire
from edgy_bus.errors import LeaseLost
from edgy_bus.events import Partition

PARTITION = Partition("accounts.User", "0")
ROW = RowKey("app.receiver", "7")
BEYOND = EntryId(2**60, 0)
"""An id above every entry of a test."""

Connect = Callable[[], Awaitable[Broker]]
"""The fixture `connect`: returns one more connected broker on the same data."""


def wires(*ids: str) -> list[Wire]:
    """Return events with these ids."""
    return [Wire(event_id, b'{"id":"%s"}' % event_id.encode(), b"{}") for event_id in ids]


async def append(broker: Broker, *ids: str) -> StreamHead:
    """Publish events at the head of the stream, wherever that is. Return the new head."""
    head = (await broker.inspect(PARTITION, StreamHead(), "epoch-1")).head
    if not ids:
        return head
    entries = await broker.publish(PARTITION, head, wires(*ids))
    assert entries is not None
    return StreamHead(head.epoch, entries[-1], ids[-1])


async def acquire(broker: Broker, owner: str, ttl: float = 30, group: str = "mail") -> Lease:
    """Take a lease that must be free."""
    lease = await broker.acquire(PARTITION, group, owner, ttl)
    assert lease is not None
    return lease


async def pass_on(broker: Broker, lease: Lease) -> Lease:
    """Give the lease to another owner."""
    await broker.release(lease)
    return await acquire(broker, "next")


async def is_lost(call: Awaitable[object]) -> bool:
    """Return whether a call raises `LeaseLost`."""
    try:
        await call
    except LeaseLost:
        return True
    return False


async def fetch_ids(
    broker: Broker, lease: Lease, *, inherit: bool = False, count: int = 100
) -> list[str]:
    """Fetch entries and return the ids of their events."""
    fetched = await broker.fetch(lease, count, inherit=inherit)
    return [entry.fields[b"id"].decode() for entry in fetched.entries]


async def take_over(broker: Broker, lease: Lease, *, count: int) -> list[str]:
    """Take over a page of former owners' entries at a time, and return the ids of their events."""
    events: list[str] = []
    after = START
    while True:
        fetched = await broker.fetch(lease, count, inherit=True, after=after)
        if not fetched.inherited:
            return events
        events += [entry.fields[b"id"].decode() for entry in fetched.entries]
        after = fetched.position


async def fetch_new(broker: Broker, lease: Lease, count: int = 10) -> list[Entry]:
    """Fetch new entries."""
    return list((await broker.fetch(lease, count, inherit=False)).entries)


def letter_of(entry: Entry, receiver: str = ROW.receiver) -> DeadLetter:
    """Return the letter of an entry that a receiver gave up."""
    return DeadLetter(entry.id, receiver, "no such user", 3, entry.fields)


async def park(broker: Broker, lease: Lease, *entries: Entry) -> None:
    """Hold `ROW` with the first entry, and park the others behind that entry."""
    after = START
    for number, entry in enumerate(entries):
        last = await broker.park(lease, ROW, letter_of(entry), begin=number == 0, after=after)
        assert last is not None
        after = last


async def park_behind(
    broker: Broker, lease: Lease, entry: Entry, row: RowKey = ROW, after: EntryId = START
) -> EntryId | None:
    """Park an entry behind a row that must be held already."""
    return await broker.park(lease, row, letter_of(entry), begin=False, after=after)


async def parked_ids(broker: Broker) -> list[str]:
    """Return the ids of the parked events of `ROW`."""
    parked = await broker.parked(PARTITION, "mail", ROW, 100)
    return [event.letter.fields[b"id"].decode() for event in parked]
