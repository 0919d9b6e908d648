"""Searches at a broker: bounded, and honest about their bounds."""

import pytest

from edgy_bus.brokers.base import START, Broker, DeadLetter, RowKey, StreamHead
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import Wire, pack
from edgy_bus.events import Partition
from edgy_bus.operations import sightings
from edgy_bus.operations.sightings import (
    SideEvents,
    Wanted,
    entry_before,
    newest_of_row,
    search_all,
    side_events,
)
from tests.support import PARTITION, bury, event, hold, publish

TEAMS = Partition("accounts.Team", "0")
EVERYTHING = Wanted()


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def side(broker: Broker, wanted: Wanted = EVERYTHING) -> SideEvents:
    return await side_events(broker, await broker.survey([PARTITION]), START, wanted)


async def test_a_search_begins_no_further_stream_once_it_has_looked_at_enough(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = event("1", 1), event("1", 1)
    await publish(broker, first)
    await publish(broker, second, partition=TEAMS)
    both = [PARTITION, TEAMS]
    met = await search_all(broker, both, "accounts", START)
    assert ([each.event.id for each in met.events], met.is_complete) == (
        [first.id, second.id],
        True,
    )
    monkeypatch.setattr(sightings, "_AT_ONCE", 1)
    monkeypatch.setattr(sightings, "ALL_ENTRIES", 1)
    met = await search_all(broker, both, "accounts", START)
    assert ([each.event.id for each in met.events], met.is_complete) == ([first.id], False)


async def test_entries_of_other_programs_are_no_events(broker: MemoryBroker) -> None:
    wire = pack(event("2", 1))
    foreign = wire.header.replace(b'"id"', b'"more":{"subject":"1"},"id"')
    await broker.declare(PARTITION.model, 1)
    state = await broker.inspect(PARTITION, StreamHead(), "epoch")
    wires = [wire._replace(header=foreign), Wire("x", b'"subject":"1"', b"")]
    await broker.publish(PARTITION, state.head, wires)
    assert await newest_of_row(broker, PARTITION, "1", 9) == ([], True)
    assert len((await newest_of_row(broker, PARTITION, "2", 9)).events) == 1


async def test_letters_are_read_in_pages_up_to_a_bound(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [event("1", number) for number in range(450)]
    await bury(broker, *events)
    found = await side(broker)
    assert ([each.id for each, _ in found.letters], found.gaps) == (
        [each.id for each in events],
        [],
    )
    monkeypatch.setattr(sightings, "LETTERS", 200)
    found = await side(broker)
    assert len(found.letters) == 200
    assert found.gaps == [
        "accounts.User:0, group mail: more dead letters than 200 were not looked at"
    ]


async def test_parked_events_are_read_of_rows_that_may_have_them(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for subject in "123":
        await hold(broker, subject)
    looked_at: list[RowKey] = []
    parked = broker.parked

    async def watched(partition: Partition, group: str, row: RowKey, count: int = 1) -> object:
        looked_at.append(row)
        return await parked(partition, group, row, count)

    monkeypatch.setattr(broker, "parked", watched)
    found = await side(broker, Wanted(subject="2"))
    assert (len(found.parked), looked_at) == (1, [RowKey("app.mail", "2")])
    monkeypatch.setattr(sightings, "HELD_ROWS", 2)
    found = await side(broker)
    assert len(found.parked) == 2
    assert found.gaps == ["accounts.User:0, group mail: not all parked events were looked at"]


async def test_attempts_count_for_the_first_parked_event_alone(broker: MemoryBroker) -> None:
    await hold(broker, "7")
    lease = await broker.acquire(PARTITION, "mail", "worker", 60)
    assert lease is not None
    await publish(broker, event("7", 2))
    [entry] = (await broker.fetch(lease, 9, inherit=False)).entries
    row = RowKey("app.mail", "7")
    tails = await broker.tails(PARTITION, "mail", [row])
    letter = DeadLetter(entry.id, row.receiver, "behind", 0, entry.fields)
    await broker.park(lease, row, letter, begin=False, after=tails[row])
    state = broker._streams[PARTITION].groups["mail"].held
    state[row] = state[row]._replace(retrying=True, attempts=3)
    found = await side(broker)
    assert [(each.number, each.attempts, each.released) for _, each in found.parked] == [
        (1, 3, True),
        (2, 0, True),
    ]


def test_a_search_begins_before_the_first_entry_of_a_millisecond() -> None:
    assert entry_before(None) == START
    assert entry_before(-5) == START
    before = entry_before(1_000)
    assert (before.ms, before < (1_000, 0)) == (999, True)
