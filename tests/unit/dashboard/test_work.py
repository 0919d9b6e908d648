"""The pages of what works: workers and partitions, outboxes and relays, replays and backfills."""

from collections.abc import AsyncIterator

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.dashboard.words import link
from edgy_bus.events import Partition
from edgy_bus.operations.unfinished import text_of
from edgy_bus.outbox.table import meta
from tests.support import PARTITION, event, publish
from tests.unit.dashboard.conftest import Come
from tests.unit.dashboard.visitor import tags, words
from tests.unit.operations.test_replays import Again
from tests.unit.operations.test_unfinished import unfinished

TEAMS = Partition("accounts.Team", "0")
HOSTILE = "<b onclick=x>'\"{{ 7*7 }}\u202e"


async def test_owners_and_their_times_are_shown(come: Come, broker: MemoryBroker) -> None:
    assert "No worker is alive" in words((await come().get("/workers")).text)
    await publish(broker, event("1", 1))
    first = await broker.acquire(PARTITION, "mail", "one.1795827799077", 60)
    assert first is not None
    await broker.fetch(first, 1, inherit=False)
    report = {"protocol": 3, "at": 1795827999.0, "calls": {"app.send": [1200, 2, 1, 1.0]}}
    await broker.join("mail", "one", 60, dumps(report))
    lease = await broker.acquire(TEAMS, "mail", "two.1795827800000", 60)
    assert lease is not None
    await publish(broker, event("1", 1), partition=TEAMS)
    await broker.fetch(lease, 1, inherit=False)
    text = words((await come().get("/workers")).text)
    assert "one mail alive 1 2026-11-28 01:03:19 UTC 1,200 2 1 2026-11-28 01:06:39 UTC" in text
    assert "two mail gone 1 2026-11-28 01:03:20 UTC" in text
    assert "No live worker owns 1 partition with unfinished events." in text
    chosen = words((await come().get(link("/workers", worker="one"))).text)
    assert "Of the worker one." in chosen
    assert "accounts.Team" not in chosen


async def test_what_keeps_entries_is_shown(come: Come, broker: MemoryBroker) -> None:
    assert "Nothing keeps entries for long" in words((await come().get("/outboxes")).text)
    lease = await broker.acquire(PARTITION, "mail", "one.1", 60)
    assert lease is not None
    await publish(broker, event("1", 1))
    await broker.fetch(lease, 1, inherit=False)
    assert "mail all no worker is alive 1" in words((await come().get("/outboxes")).text)


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Again]:
    shop = Again(sqlite_url)
    async with shop.bus:
        await shop.registry.create_all()
        yield shop


async def enter(shop: Again, **entries: str) -> None:
    for name, value in entries.items():
        entry = meta.insert().values(name=name.replace("_", "."), value=value)
        await shop.database.run(entry)


async def test_the_progress_of_replays_and_backfills_is_shown(come: Come, shop: Again) -> None:
    without = words((await come().get("/replays")).text)
    assert "No database is known here" in without
    async with shop.bus.operating(databases=True) as parts:
        visitor = come(parts=parts)
        assert "No replay and no backfill is unfinished" in (await visitor.get("/replays")).text
        await enter(shop, backfill_a=text_of(unfinished(600, 900, 10)), replay_b="{")
        page = (await visitor.get("/replays")).text
        assert "Outbox 0 events wait for the relay" in words((await visitor.get("/")).text)
    text = words(page)
    assert "stands Backfill of shop.Item to search/index" in text
    assert "600 of 900 rows, 1.0 in a second since the begin, pauses included" in text
    assert "the rest takes 5 min at this rate" in text
    assert "anna began at 2026-11-28 12:00:00 UTC" in text
    assert "with conditions on status, id__gte" in text
    assert "edgy-bus backfill MODULE:BUS shop.Item --to search/index --resume" in text
    assert "is no unfinished replay of this release" in text
    (bar,) = [attributes for tag, attributes in tags(page) if tag == "progress"]
    assert (bar["value"], bar["max"]) == ("600", "900")
    assert "secret" not in page, "conditions may have values of rows"


async def test_an_entry_with_hostile_texts_stays_text(come: Come, shop: Again) -> None:
    quoted = dumps(HOSTILE).decode()[1:-1]
    text = text_of(unfinished(1, 2, 10)).replace("anna", quoted).replace("search/index", quoted)
    await enter(shop, replay_b=text.replace("status", quoted))
    async with shop.bus.operating(databases=True) as parts:
        page = (await come(parts=parts).get("/replays")).text
    assert words(page).count("<b onclick") == 4
    assert "\u202e" not in page
    assert not [tag for tag, attributes in tags(page) if tag == "b" or "onclick" in attributes]


async def test_a_database_without_tables_is_named(come: Come, sqlite_url: str) -> None:
    shop = Again(sqlite_url)
    async with shop.bus.operating(databases=True) as parts:
        text = words((await come(parts=parts).get("/replays")).text)
        assert "the outbox cannot be read" in text
        assert "No replay and no backfill" not in text
        assert "Outbox 1 database out of reach" not in words((await come().get("/")).text)
        assert "1 database out of reach" in words((await come(parts=parts).get("/")).text)
