"""Each operation of Edgy's models writes the events of its rows, on both databases."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgy_bus.signals import pre_delete, pre_update
from tests.edgy.shop import Color, Shop, open_shop


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, publish=["post_*"]) as opened:
        yield opened


async def test_a_row_has_an_event_for_each_change(shop: Shop) -> None:
    author = await shop.models.Author.query.create(name="Ann", email="a@b.c")
    await author.update(name="Bea", color=Color.BLUE)
    await author.delete()
    saved, changed, deleted = await shop.events()
    assert [event[:3] for event in (saved, changed, deleted)] == [
        ("Author", "post_save", "1"),
        ("Author", "post_update", "1"),
        ("Author", "post_delete", "1"),
    ]
    assert saved[3]["instance"] == {
        "id": 1,
        "name": "Ann",
        "email": "a@b.c",
        "color": "RED",
        "notes": [],
    }
    assert changed[3]["changes"] == {
        "name": {"old": "Ann", "new": "Bea"},
        "color": {"old": "RED", "new": "BLUE"},
    }
    assert changed[3]["assigned"] == ["name", "color"]
    assert deleted[3]["instance"]["name"] == "Bea"


async def test_a_save_inserts_or_updates(shop: Shop) -> None:
    author = shop.models.Author(name="Ann")
    await author.save()
    assert author.id == 1, "Edgy gets the key"
    author.name = "Bea"
    await author.save()
    await shop.models.Author(name="Cleo").save()
    assert await shop.kinds() == [
        ("Author", "post_save", "1"),
        ("Author", "post_update", "1"),
        ("Author", "post_save", "2"),
    ]


async def get_or_create(shop: Shop) -> None:
    Author = shop.models.Author
    _, created = await Author.query.get_or_create(name="Ann", defaults={"email": "x"})
    assert created
    _, created = await Author.query.get_or_create(name="Ann")
    assert not created


async def update_or_create(shop: Shop) -> None:
    Author = shop.models.Author
    await Author.query.update_or_create(name="Ann", defaults={"email": "x"})
    await Author.query.update_or_create(name="Ann", defaults={"email": "y"})


async def bulk_create(shop: Shop) -> None:
    await shop.models.Author.query.bulk_create([{"name": "Ann"}, {"name": "Bea"}])
    assert await shop.models.Author.query.count() == 2


async def bulk_update(shop: Shop) -> None:
    Author = shop.models.Author
    await bulk_create(shop)
    authors = await Author.query.order_by("id")
    for author in authors:
        author.name = author.name.upper()
    await Author.query.bulk_update(authors, update_fields=["name"])


async def bulk_update_by_other_columns(shop: Shop) -> None:
    Author = shop.models.Author
    await Author.query.create(name="a", email="a")
    await Author.query.bulk_update_or_create(
        [{"name": "A", "email": "a"}, {"name": "B", "email": "b"}],
        update_fields=["name"],
        unique_fields=["email"],
    )
    assert [author.name for author in await Author.query.order_by("id")] == ["A", "B"]


async def bulk_get_or_create(shop: Shop) -> None:
    await shop.models.Author.query.bulk_get_or_create(
        [{"name": "Ann", "email": "a"}, {"name": "Ann", "email": "a"}], unique_fields=["email"]
    )


async def set_update(shop: Shop) -> None:
    await bulk_create(shop)
    assert await shop.models.Author.query.filter(name="Ann").update(name="x") == 1
    assert await shop.models.Author.query.filter(name="nobody").update(name="x") == 0


async def set_delete(shop: Shop) -> None:
    await bulk_create(shop)
    assert await shop.models.Author.query.filter(name__in=["Ann", "Bea"]).delete() == 2


async def set_delete_with_models(shop: Shop) -> None:
    await bulk_create(shop)
    assert await shop.models.Author.query.delete(use_models=True) == 2


async def set_by_a_relation(shop: Shop) -> None:
    await reverse_create(shop)
    await shop.models.Book.query.filter(author__name="Ann").update(title="Two")


async def reverse_create(shop: Shop) -> None:
    author = await shop.models.Author.query.create(name="Ann")
    await author.books.create(title="One")


async def reverse_remove(shop: Shop) -> None:
    await reverse_create(shop)
    book = await shop.models.Book.query.get(title="One")
    await (await shop.models.Author.query.get(name="Ann")).books.remove(book)


async def relation_add(shop: Shop) -> None:
    book = await shop.models.Book.query.create(title="One")
    tag = await shop.models.Tag.query.create(name="new")
    await book.tags.add(tag)
    assert await book.tags.add(tag) is None, "Edgy ignores the conflict"


async def relation_remove(shop: Shop) -> None:
    await relation_add(shop)
    book = await shop.models.Book.query.get(title="One")
    await book.tags.remove(await shop.models.Tag.query.get(name="new"))


async def relation_create(shop: Shop) -> None:
    book = await shop.models.Book.query.create(title="One")
    await book.tags.create(name="new")


async def composite_key(shop: Shop) -> None:
    Place = shop.models.Place
    place = await Place.query.create(shelf="a", number=1, title="One")
    await place.update(title="Two")
    await Place.query.bulk_update([place], update_fields=["title"])
    await Place.query.filter(shelf="a").delete()


A, B, P, T = "Author", "Book", "Place", "BookTagsThrough"
SAVE, UPDATE, DELETE = "post_save", "post_update", "post_delete"
TWO = [(A, SAVE, "1"), (A, SAVE, "2")]

EVENTS: dict[Callable[[Shop], Any], list[tuple[str, str, str]]] = {
    get_or_create: [(A, SAVE, "1")],
    update_or_create: [(A, SAVE, "1"), (A, UPDATE, "1")],
    bulk_create: TWO,
    bulk_update: [*TWO, (A, UPDATE, "1"), (A, UPDATE, "2")],
    bulk_update_by_other_columns: [*TWO, (A, UPDATE, "1")],
    bulk_get_or_create: [(A, SAVE, "1")],
    set_update: [*TWO, (A, UPDATE, "1")],
    set_delete: [*TWO, (A, DELETE, "1"), (A, DELETE, "2")],
    set_delete_with_models: [*TWO, (A, DELETE, "1"), (A, DELETE, "2")],
    set_by_a_relation: [(A, SAVE, "1"), (B, SAVE, "1"), (B, UPDATE, "1")],
    reverse_create: [(A, SAVE, "1"), (B, SAVE, "1")],
    reverse_remove: [(A, SAVE, "1"), (B, SAVE, "1"), (B, UPDATE, "1")],
    relation_add: [(B, SAVE, "1"), ("Tag", SAVE, "1"), (T, SAVE, "[1,1]")],
    relation_remove: [(B, SAVE, "1"), ("Tag", SAVE, "1"), (T, SAVE, "[1,1]"), (T, DELETE, "[1,1]")],
    relation_create: [(B, SAVE, "1"), ("Tag", SAVE, "1"), (T, SAVE, "[1,1]")],
    composite_key: [
        (P, SAVE, '["a",1]'),
        (P, UPDATE, '["a",1]'),
        (P, UPDATE, '["a",1]'),
        (P, DELETE, '["a",1]'),
    ],
}


@pytest.mark.parametrize("operation", EVENTS, ids=lambda each: each.__name__)
async def test_the_events_of_an_operation(shop: Shop, operation: Callable[[Shop], Any]) -> None:
    await operation(shop)
    assert await shop.kinds() == EVENTS[operation]


# Edgy looks for existing rows in other tasks, which do not see what this one has not committed.
JOINING = [each for each in EVENTS if each is not bulk_update_by_other_columns]


@pytest.mark.parametrize("operation", JOINING, ids=lambda each: each.__name__)
async def test_the_events_of_an_operation_end_with_its_transaction(
    shop: Shop, operation: Callable[[Shop], Any]
) -> None:
    transaction = shop.database.transaction()
    await transaction.start()
    try:
        await operation(shop)
        assert await shop.kinds() == EVENTS[operation]
    finally:
        await transaction.rollback()
    assert await shop.kinds() == []
    for model in shop.models.published:
        assert await model.query.count() == 0


async def test_nested_transactions(shop: Shop) -> None:
    Author, database = shop.models.Author, shop.database
    async with database.transaction():
        await Author.query.create(name="kept")
        with pytest.raises(ZeroDivisionError):
            async with database.transaction():
                await Author.query.create(name="undone")
                await Author.query.filter(name="kept").update(name="changed")
                raise ZeroDivisionError
        async with database.transaction():
            await Author.query.bulk_create([{"name": "kept, too"}])
    names = [data["instance"]["name"] for *_, data in await shop.events()]
    assert names == ["kept", "kept, too"]
    assert sorted(a.name for a in await Author.query.all()) == ["kept", "kept, too"]


async def test_old_values_are_those_of_the_row_not_of_the_instance(shop: Shop) -> None:
    Author = shop.models.Author
    author = await Author.query.create(name="Ann")
    await Author.query.filter(id=author.id).update(name="Bea")
    assert author.name == "Ann", "in memory"
    await author.update(name="Cleo")
    changes = [data["changes"]["name"] for *_, data in (await shop.events())[1:]]
    assert changes == [{"old": "Ann", "new": "Bea"}, {"old": "Bea", "new": "Cleo"}]


@asynccontextmanager
async def following(shop: Shop) -> AsyncIterator[None]:
    """Let SQLite follow foreign keys, which it does on demand only; Edgy does not demand it."""
    async with shop.database.connection() as connection:
        if shop.database.url.dialect == "sqlite":
            await connection.execute("PRAGMA foreign_keys = ON")
        yield


async def test_rows_of_a_tree_have_an_event_each(shop: Shop) -> None:
    Node = shop.models.Node
    parents = [None, 1, 2, 2, 1, None]
    for parent in parents:
        await Node.query.create(
            parent=parent if parent is None else await Node.query.get(id=parent)
        )
    await shop.forget()
    async with following(shop):
        await Node.query.filter(id__in=[1, 3]).delete()
        assert await Node.query.count() == 1
        events = await shop.kinds()
    assert sorted(events) == [("Node", "post_delete", str(key)) for key in range(1, 6)]


async def test_a_receiver_refuses_what_would_follow(shop: Shop) -> None:
    models = shop.models
    author = await models.Author.query.create(name="Ann")
    await models.Book.query.create(title="sold", author=author)
    await models.Book.query.create(title="edited", editor=author)
    seen = []

    @pre_delete(models.Book)
    async def keep(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(("pre_delete", instance.title))
        if len(seen) < 3:
            raise PermissionError(instance.title)

    @pre_update(models.Book)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(("pre_update", instance.title))

    async with following(shop):
        with pytest.raises(PermissionError, match="sold"):
            await author.delete()
        assert await models.Author.query.count() == 1
        seen.append(("again", ""))
        seen.append(("again", ""))
        await models.Author.query.delete()
    assert seen[3:] == [("pre_delete", "sold"), ("pre_update", "edited")]


async def test_rows_that_the_database_changes_itself_have_events(shop: Shop) -> None:
    models = shop.models
    ann = await models.Author.query.create(name="Ann")
    bea = await models.Author.query.create(name="Bea")
    mine = await models.Book.query.create(title="mine", author=ann)
    await models.Book.query.create(title="edited", author=bea, editor=ann)
    await mine.tags.add(await models.Tag.query.create(name="new"))
    await shop.forget()
    async with following(shop):
        await models.Author.query.filter(name="Ann").delete()
        events = await shop.events()
    assert sorted(event[:3] for event in events) == [
        ("Author", "post_delete", "1"),
        ("Book", "post_delete", "1"),
        ("Book", "post_update", "2"),
        ("BookTagsThrough", "post_delete", "[1,1]"),
    ]
    [changes] = [data["changes"] for _, signal, _, data in events if signal == "post_update"]
    assert changes == {"editor": {"old": 1, "new": None}}


async def test_edgys_own_receivers_are_called_as_before(shop: Shop) -> None:
    Author, heard = shop.models.Author, []

    async def receiver(sender: Any, **kwargs: Any) -> None:
        heard.append((sender, sorted(kwargs)))

    Author.meta.signals.post_save.connect(receiver)
    await Author.query.create(name="Ann")
    assert heard == [
        (
            Author,
            sorted(
                [
                    *("instance", "model_instance", "values", "column_values", "is_update"),
                    *("is_migration", "operation_skipped"),
                ]
            ),
        )
    ]
