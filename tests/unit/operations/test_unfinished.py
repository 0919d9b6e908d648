"""How far backfills and replays are that have begun and not ended."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from edgy_bus.operations import Limits, LongActions, long_actions
from edgy_bus.operations.unfinished import Unfinished, progress_of, text_of
from edgy_bus.outbox.table import meta
from tests.support import eventually
from tests.unit.operations.test_replays import Again

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def unfinished(done: int, total: int, minutes: float, **values: str) -> Unfinished:
    moved = NOON + timedelta(minutes=minutes)
    return Unfinished(
        "shop.Item", "search/index", ("status=secret", "id__gte=5"), total, done,
        "7", "900", NOON.isoformat(), moved.isoformat(), "anna", **values,  # type: ignore[arg-type]
    )  # fmt: skip


def test_rate_and_rest_are_those_since_the_begin() -> None:
    now = NOON + timedelta(minutes=12)
    view = progress_of(unfinished(600, 900, 10), "sqlite:///a", now)
    assert (view.rate, view.remaining, view.idle, view.stands) == (1.0, 300.0, 120.0, False)
    assert (view.unit, view.fields) == ("rows", ("status", "id__gte"))
    assert view.command == "edgy-bus backfill MODULE:BUS shop.Item --to search/index --resume"
    later = progress_of(unfinished(600, 900, 10), "sqlite:///a", now + timedelta(minutes=9))
    assert later.stands


def test_nothing_is_known_before_the_first_page_and_no_time_is_negative() -> None:
    fresh = progress_of(unfinished(0, 900, 0), "", NOON - timedelta(seconds=3))
    assert (fresh.rate, fresh.remaining, fresh.idle) == (None, None, 0.0)
    # More rows than at the beginning.
    assert progress_of(unfinished(950, 900, 10), "", NOON).remaining == 0.0


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Again]:
    shop = Again(sqlite_url)
    shop.advances = []
    async with shop.bus:
        await shop.registry.create_all()
        await shop.enlist()
        yield shop


async def look(shop: Again) -> LongActions:
    async with shop.bus.operating(databases=True) as parts:
        return await long_actions(parts)


async def test_a_replay_is_listed_while_it_runs_and_no_longer_than_that(shop: Again) -> None:
    assert await look(shop) == LongActions((), ())
    await shop.write(2)
    running = asyncio.create_task(shop.replay(limits=Limits(rate=0.1, page=1)))
    await eventually(shop.copies, "the first copy")
    (view,) = (await look(shop)).actions
    assert (view.action.kind, view.action.done, view.action.total) == ("replay", 1, 2)
    assert (view.unit, view.stands, view.database[:9]) == ("events", False, "sqlite://")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await shop.replay(course="resume")
    assert await look(shop) == LongActions((), ())


async def test_an_entry_that_cannot_be_read_hides_no_other(shop: Again) -> None:
    text = text_of(unfinished(1, 2, 0))
    other = text.replace("shop.Item", "accounts.User")
    naive = text.replace("+00:00", "")
    entries = {"backfill.a": "{", "backfill.b": text, "replay.c": other, "replay.d": naive}
    for name, value in entries.items():
        await shop.database.run(meta.insert().values(name=name, value=value))
    view = await look(shop)
    assert [each.action.kind for each in view.actions] == ["backfill", "replay"]
    (problem,) = view.problems
    assert "the entry 'backfill.a' of edgy_bus_meta is no unfinished backfill" in problem
