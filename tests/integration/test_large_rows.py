"""A row that is too large for an event is never stuck, and no row becomes too large."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import insert, select

import edgy_bus as edgy
from edgy_bus.errors import EventError
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from tests.integration.service import Service
from tests.support import eventually

LIMIT = 1_000


class Archive(Service):
    """A service whose events have at most `LIMIT` bytes."""

    def __init__(self, database: edgy.Database, *, relay: bool = False) -> None:
        super().__init__(database, relay=relay, events=EventSettings(max_bytes=LIMIT))
        own = self.registry

        class Page(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            title: str = edgy.CharField(max_length=50, default="a")
            text: str = edgy.TextField(default="")
            more: str | None = edgy.TextField(null=True)
            n: int = edgy.IntegerField(default=0)

            class Meta:
                registry = own

        self.Page: Any = Page

    async def insert(self, **values: Any) -> Any:
        """Insert a row past the models."""
        row = {"title": "a", "text": "", "n": 0, **values}
        statement = insert(self.Page.meta.table).values(row)
        await self.database.run(statement)
        return await self.Page.query.last()

    async def events(self) -> list[Any]:
        texts = (await self.database.run(select(outbox.c.data))).rows
        assert all(len(row["data"]) <= LIMIT for row in texts)
        events = [row["data"] for row in await self.take_outbox()]
        for data in events:
            # The names of the assigned fields, if the event has them.
            data.pop("assigned", None)
        # In no order: PostgreSQL sorts the names.
        return [
            {**data, "omitted": sorted(data["omitted"])} if "omitted" in data else data
            for data in events
        ]


@pytest.fixture
async def archive(database: edgy.Database) -> AsyncIterator[Archive]:
    async with Archive(database).running() as archive:
        yield archive


async def update_row(page: Any, **values: Any) -> None:
    await page.update(**values)


async def save_row(page: Any, **values: Any) -> None:
    await page.save(values)


async def update_set(page: Any, **values: Any) -> None:
    await type(page).query.filter(pk=page.pk).update(**values)


async def update_bulk(page: Any, **values: Any) -> None:
    other = await type(page).query.create()
    await page.meta.registry.database.run(outbox.delete())
    for name, value in values.items():
        setattr(page, name, value)
    await type(page).query.bulk_update([page, other], list(values))
    await page.meta.registry.database.run(outbox.delete().where(outbox.c.subject == str(other.pk)))


UPDATES = [update_row, save_row, update_set, update_bulk]


async def delete_row(page: Any) -> None:
    assert await page.delete() == 1


async def delete_set(page: Any) -> None:
    assert await type(page).query.delete() == 1


Update = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("update", UPDATES)
async def test_a_row_that_was_too_large_can_be_changed(archive: Archive, update: Update) -> None:
    page = await archive.insert(text="x" * 2_000, more="é" * 10)
    await update(page, n=12)
    partial = {
        "instance": {"id": page.pk, "title": "a", "more": "é" * 10, "n": 12},
        "is_update": True,
        "omitted": ["text"],
    }
    assert await archive.events() == [partial]
    # Even made larger.
    await update(page, text="y" * 3_000)
    assert await archive.events() == [partial]
    # Or made small enough: then only the old value does not fit.
    await update(page, text="z")
    assert await archive.events() == [
        {
            "instance": {**partial["instance"], "text": "z"},
            "is_update": True,
        }
    ]
    assert (await archive.Page.query.get(pk=page.pk)).text == "z"


@pytest.mark.parametrize("update", UPDATES)
async def test_a_change_of_a_row_within_the_limit_is_never_refused_for_its_old_values(
    archive: Archive, update: Update
) -> None:
    page = await archive.insert(text="x" * 700)
    await update(page, text="y" * 700)
    [event] = await archive.events()
    assert (event["instance"]["text"], "changes" in event) == ("y" * 700, False)


@pytest.mark.parametrize("delete", [delete_row, delete_set])
async def test_a_row_that_was_too_large_can_be_deleted(
    archive: Archive, delete: Callable[[Any], Awaitable[None]]
) -> None:
    page = await archive.insert(text="x" * 2_000, more="y" * 900)
    await delete(page)
    assert await archive.events() == [
        {
            "instance": {"id": page.pk, "title": "a", "n": 0},
            "is_update": False,
            "omitted": ["more", "text"],
        }
    ]


@pytest.mark.parametrize("update", UPDATES)
async def test_no_row_becomes_too_large(archive: Archive, update: Update) -> None:
    page = await archive.insert(text="x" * 500)
    with pytest.raises(EventError, match="keep large fields out of events"):
        await update(page, text="x" * 1_000)
    assert (await archive.Page.query.get(pk=page.pk)).text == "x" * 500
    for create in (
        lambda: archive.Page.query.create(text="x" * 1_000),
        lambda: archive.Page.query.bulk_create([{"text": "x" * 1_000}, {}]),
    ):
        with pytest.raises(EventError, match="keep large fields out of events"):
            await create()
    assert await archive.Page.query.exclude(text="").count() == 1
    await archive.database.run(outbox.delete())


async def test_a_receiver_gets_a_partial_instance(database_url: str) -> None:
    archive = Archive(edgy.Database(database_url), relay=True)
    heard: list[Any] = []

    @edgy.post_update(archive.Page, when_changed=("title",))
    async def note(sender: Any, instance: Any, changes: Any, event: Any, **kwargs: Any) -> None:
        omitted = event.data["omitted"]
        heard.append((instance.pk, instance.title, instance.text, changes, omitted))

    async with archive.bus:
        await archive.registry.create_all()
        page = await archive.insert(text="x" * 2_000)
        async with archive.bus.worker():
            # Nobody knows whether the title has changed.
            await page.update(n=1)
            await eventually(lambda: heard, "the event")
    assert heard == [(page.pk, "a", None, None, ["text"])]
