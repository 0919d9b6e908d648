"""Searching the outbox on SQLite and PostgreSQL: in pages around the time of an event."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from edgy_bus.database import Database
from edgy_bus.events import Partition, new_event_id
from edgy_bus.operations.journeys import written_ms
from edgy_bus.outbox.store import OutboxStore, searching
from edgy_bus.outbox.table import chunks, outbox
from tests.integration.test_store import stand
from tests.support import PARTITION
from tests.unit.outbox.support import SUBJECTS, write

ROW = SUBJECTS["0"]


@pytest.fixture
async def store(database: Database) -> OutboxStore:
    store = OutboxStore(database, "accounts")
    await store.prepare()
    return store


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "PAGE", 2)
    monkeypatch.setattr(searching, "EVENT_PAGES", 4)
    monkeypatch.setattr(searching, "CAUSED_PAGES", 4)
    monkeypatch.setattr(searching, "ROW_PAGES", 4)


async def space_out(store: OutboxStore, ids: list[str], ms: int) -> None:
    """Let the rows be written a second apart, the first of them at `ms`."""
    for number, event_id in enumerate(ids):
        of_event = update(outbox).where(outbox.c.event_id == event_id)
        await store.database.run(of_event.values(created=ms + 1000 * number))


@pytest.mark.parametrize("empty", [True, False])
async def test_what_is_not_there_is_not_found(store: OutboxStore, empty: bool) -> None:
    if not empty:
        await write(store, 2)
    for ms in (None, 0, int(time.time() * 1000)):
        assert await store.searching.find(new_event_id(), ms) == ([], True)
    assert await store.searching.caused_by(new_event_id(), None, 5) == ([], True)
    assert await store.searching.of_row(PARTITION.model, "none", 5) == ([], True)
    assert await store.searching.data(7) is None


@pytest.mark.usefixtures("pages_of_two")
async def test_an_event_is_found_by_its_time_in_a_long_outbox(store: OutboxStore) -> None:
    ids = await write(store, 40)
    now = int(time.time() * 1000)
    await space_out(store, ids, now)
    for number in (0, 1, 17, 38, 39):
        found = await store.searching.find(ids[number], now + 1000 * number)
        assert [row.event_id for row in found.rows] == [ids[number]]
        assert found.is_complete
        [row] = found.rows
        assert (row.number, row.partition, row.is_pending) == (number + 1, PARTITION, True)
    # A clock that differs by three seconds, in either direction.
    for ms in (now + 14_000, now + 20_000):
        assert len((await store.searching.find(ids[17], ms)).rows) == 1
    away = await store.searching.find(ids[0], now + 39_000)
    assert away == ([], False), "further than the search looks"
    assert len((await store.searching.find(ids[39], None)).rows) == 1, "without a time: the newest"


@pytest.mark.usefixtures("pages_of_two")
async def test_a_gap_in_the_ids_is_no_page(store: OutboxStore) -> None:
    ids = await write(store, 6)
    await store.database.run(update(outbox).where(outbox.c.id > 3).values(id=outbox.c.id + 10**12))
    now = int(time.time() * 1000)
    await space_out(store, ids, now)
    for number in range(6):
        found = await store.searching.find(ids[number], now + 1000 * number)
        assert [row.event_id for row in found.rows] == [ids[number]]
    row = await store.searching.of_row(PARTITION.model, ROW, 9)
    assert ([each.event_id for each in row.rows], row.is_complete) == (ids, True)


@pytest.mark.usefixtures("pages_of_two")
async def test_caused_events_are_found_behind_their_cause(store: OutboxStore) -> None:
    [cause, *_] = await write(store, 3)
    caused = await write(store, 3, causation=cause)
    found = await store.searching.caused_by(cause, None, 9)
    assert ([row.event_id for row in found.rows], found.is_complete) == (caused, True)
    found = await store.searching.caused_by(cause, None, 2)
    assert ([row.event_id for row in found.rows], found.is_complete) == (caused[:2], False)
    await write(store, 9)
    found = await store.searching.caused_by(cause, written_ms(cause), 9)
    assert ([row.event_id for row in found.rows], found.is_complete) == (caused, False)
    assert await store.searching.caused_by(cause, int(time.time() * 1000) + 9_000, 9) == ([], True)


@pytest.mark.usefixtures("pages_of_two")
async def test_the_newest_events_of_a_row_are_found(store: OutboxStore) -> None:
    other = Partition("accounts.Team", "0")
    ids = await write(store, 2)
    await write(store, 1, other)
    await write(store, 1, subject="another")
    ids += await write(store, 2)
    newest = await store.searching.of_row(PARTITION.model, ROW, 3)
    assert ([row.event_id for row in newest.rows], newest.is_complete) == (ids[1:], False)
    whole = await store.searching.of_row(PARTITION.model, ROW, 4)
    assert ([row.event_id for row in whole.rows], whole.is_complete) == (ids, True)
    await write(store, 5, subject="another")
    part = await store.searching.of_row(PARTITION.model, ROW, 9)
    assert ([row.event_id for row in part.rows], part.is_complete) == (ids[2:], False)


async def test_the_ledger_tells_the_entries_of_published_events(
    store: OutboxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await write(store, 6)
    for first in (10, 20, 30):
        await stand(store, first, first + 1)
    [row] = (await store.searching.find(ids[4], written_ms(ids[4]))).rows
    assert not row.is_pending
    monkeypatch.setattr(searching, "_CHUNKS", 1)
    placing = await store.searching.placed(PARTITION, [1, row.number], row.written)
    assert {number: entry.ms for number, entry in placing.entries.items()} == {1: 10, 5: 30}
    assert placing.is_complete
    monkeypatch.setattr(searching, "_CHUNK_PAGES", 2)
    assert not (await store.searching.placed(PARTITION, [5], row.written)).is_complete
    later = row.written + timedelta(minutes=5)
    assert (await store.searching.placed(PARTITION, [5], later)).entries == {}, "older chunks"
    await store.database.run(delete(chunks))
    assert await store.searching.placed(PARTITION, [5], row.written) == ({}, True)
    assert (await store.searching.data(5)) == "{}"
