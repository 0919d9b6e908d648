"""Random work with Edgy's models: what the events say is what the rows are.

Each run draws operations, sets, bulks, nested transactions and rollbacks. At the end, replaying the
events in their order gives the rows, and every old value is the value that the row had.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from edgy_bus.codec import dumps, loads
from tests.edgy.shop import Color, Event, Shop, open_shop

numbers = st.integers(1, 5)
names = st.sampled_from(["ann", "bea", "cleo"])


def operation(name: str) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), numbers, names)


steps = st.one_of(
    *map(
        operation,
        [
            *("create", "save", "update", "delete", "get_or_create", "update_or_create"),
            *("bulk_create", "bulk_update", "set_update", "set_delete", "use_models"),
            *("book", "hand_over", "add", "remove", "place", "place_set", "core", "same_email"),
        ],
    ),
    st.sampled_from([("begin",), ("begin",), ("commit",), ("rollback",)]),
)


class Run:
    """Models under a random program."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.models = shop.models
        self.transactions: list[Any] = []

    async def step(self, name: str, number: int = 0, text: str = "") -> None:
        await getattr(self, f"do_{name}")(number, text)

    async def author(self, number: int) -> Any:
        return await self.models.Author.query.get_or_none(id=number)

    async def do_create(self, number: int, text: str) -> None:
        await self.models.Author.query.create(name=text, pin=text)

    async def do_save(self, number: int, text: str) -> None:
        author = await self.author(number) or self.models.Author(name="new")
        author.name, author.notes, author.pin = text, [number], "secret"
        await author.save()

    async def do_update(self, number: int, text: str) -> None:
        author = await self.author(number)
        if author is not None:
            await author.update(name=text, color=Color.BLUE)

    async def do_delete(self, number: int, text: str) -> None:
        author = await self.author(number)
        if author is not None:
            await author.delete()

    async def do_get_or_create(self, number: int, text: str) -> None:
        await self.models.Tag.query.get_or_create(name=text)

    async def do_update_or_create(self, number: int, text: str) -> None:
        await self.models.Tag.query.update_or_create(name=text, defaults={"name": f"{text}!"})

    async def do_bulk_create(self, number: int, text: str) -> None:
        await self.models.Author.query.bulk_create([{"name": text}] * number)

    async def do_bulk_update(self, number: int, text: str) -> None:
        authors = await self.models.Author.query.filter(id__lte=number)
        for author in authors:
            author.name, author.notes = text, [author.id]
        if authors:
            await self.models.Author.query.bulk_update(authors, update_fields=["name", "notes"])

    async def do_set_update(self, number: int, text: str) -> None:
        await self.models.Author.query.filter(id__gte=number).update(name=text)

    async def do_set_delete(self, number: int, text: str) -> None:
        await self.models.Author.query.filter(name=text, id__gt=number).delete()

    async def do_use_models(self, number: int, text: str) -> None:
        await self.models.Author.query.filter(id=number).delete(use_models=True)

    async def do_book(self, number: int, text: str) -> None:
        author = await self.author(number)
        if author is None:
            await self.models.Book.query.create(title=text)
        else:
            await author.books.create(title=text, editor=author)

    async def do_hand_over(self, number: int, text: str) -> None:
        book = await self.models.Book.query.first()
        author = await self.author(number)
        if book is not None and author is not None:
            await author.books.add(book)

    async def do_add(self, number: int, text: str) -> None:
        book, tag = await self.models.Book.query.first(), await self.models.Tag.query.first()
        if book is not None and tag is not None:
            await book.tags.add(tag)

    async def do_remove(self, number: int, text: str) -> None:
        through = await self.models.Through.query.first()
        if through is not None:
            await (await self.models.Book.query.get(id=through.book.id)).tags.remove(through.tag)

    async def do_place(self, number: int, text: str) -> None:
        place = await self.models.Place.query.get_or_none(shelf="a", number=number)
        if place is None:
            await self.models.Place.query.create(shelf="a", number=number, title=text)
        else:
            await place.update(title=text)

    async def do_place_set(self, number: int, text: str) -> None:
        await self.models.Place.query.filter(number__gt=number).delete()

    async def do_core(self, number: int, text: str) -> None:
        table = self.models.Author.table
        await self.shop.database.execute(
            sa.update(table).where(table.c.id < number).values(name=table.c.name + "x")
        )

    async def do_same_email(self, number: int, text: str) -> None:
        """A conflict, which takes the operation back and nothing else."""
        try:
            await self.models.Author.query.create(name="conflict", email=text)
        except IntegrityError:
            assert await self.models.Author.query.filter(email=text).exists()

    async def do_begin(self, *_: Any) -> None:
        transaction = self.shop.database.transaction()
        await transaction.start()
        self.transactions.append(transaction)

    async def do_commit(self, *_: Any) -> None:
        if self.transactions:
            await self.transactions.pop().commit()

    async def do_rollback(self, *_: Any) -> None:
        if self.transactions:
            await self.transactions.pop().rollback()


async def rows_of(shop: Shop) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of all models, in the form of their events."""
    rows = {}
    for sender in shop.models.published:
        model: Any = shop.source.model(sender)
        for row in await shop.database.fetch_all(sa.select(sender.table)):
            values = {name: row._mapping[sender.table.c[name]] for name in model.public}
            key = model.name, str(model.key_of(values))
            rows[key] = loads(dumps(model.stored(values)))
    return rows


def replayed(events: list[Event]) -> dict[Any, dict[str, Any]]:
    """The rows that the events describe; fails where an old value is not what the row had."""
    rows: dict[Any, dict[str, Any]] = {}
    for model, signal, subject, data in events:
        key = model, subject
        assert "pin" not in data["instance"], "secret"
        if signal == "post_delete":
            assert rows.pop(key) == data["instance"], "the last state of the row"
            continue
        before = rows.get(key)
        assert (before is None) == (signal == "post_save"), (key, signal)
        rows[key] = data["instance"]
        if before is not None:
            differing = {n for n in before if before[n] != data["instance"][n]}
            changes = data["changes"]
            assert differing == set(changes), (key, differing, changes)
            assert {n: before[n] for n in changes} == {n: changes[n]["old"] for n in changes}
    return rows


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=st.lists(steps, max_size=25))
async def test_the_events_are_the_changes_of_the_rows(
    database_url: str, tmp_path: Path, program: list[tuple[Any, ...]]
) -> None:
    async with open_shop(database_url, publish=["post_*"]) as shop:
        run = Run(shop)
        try:
            for name, *arguments in program:
                await run.step(name, *arguments)
            while run.transactions:
                await run.do_commit()
            assert replayed(await shop.events()) == await rows_of(shop)
        finally:
            while run.transactions:
                await run.do_rollback()
            await shop.models.registry.drop_all()
            await shop.forget()
