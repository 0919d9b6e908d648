"""Random work of sessions: what the events say is what the rows are.

Each run draws objects, changes, sets, savepoints and rollbacks. At the end, replaying the events in
their order gives the rows, and every old value is the value that the row had.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.alchemy import (
    AsyncSession,
    Bike,
    Book,
    Car,
    Color,
    Note,
    Shop,
    User,
    Vehicle,
    open_shop,
)

numbers = st.integers(0, 5)
names = st.sampled_from(["ann", "bea", "cleo"])

steps = st.one_of(
    st.tuples(st.just("add"), numbers, names),
    st.tuples(st.just("change"), numbers, names),
    st.tuples(st.just("same"), numbers, names),
    st.tuples(st.just("delete"), numbers, names),
    st.tuples(st.just("replace"), numbers, names),
    st.tuples(st.just("book"), numbers, names),
    st.tuples(st.just("hand over"), numbers, names),
    st.tuples(st.just("orphan"), numbers, names),
    st.tuples(st.just("vehicle"), numbers, names),
    st.tuples(st.just("wheels"), numbers, names),
    st.tuples(st.just("update set"), numbers, names),
    st.tuples(st.just("delete set"), numbers, names),
    st.tuples(st.just("other"), numbers, names),
    st.sampled_from([("flush",), ("save",), ("undo",), ("release",), ("commit",), ("rollback",)]),
)


class Run:
    """A session under a random program."""

    def __init__(self, shop: Shop, session: AsyncSession) -> None:
        self.shop = shop
        self.session = session
        self.savepoints: list[Any] = []

    async def step(self, name: str, number: int = 0, text: str = "") -> None:
        await getattr(self, "do_" + name.replace(" ", "_"))(number, text)

    async def do_add(self, number: int, text: str) -> None:
        if await self.session.get(User, number) is None:
            self.session.add(User(id=number, name=text, notes=[Note(text=text)]))
            await self.session.flush()

    async def do_change(self, number: int, text: str) -> None:
        user = await self.session.get(User, number)
        if user is not None:
            user.name, user.tags, user.password = text, [text, number], text
            user.balance = User.balance + 1

    async def do_same(self, number: int, text: str) -> None:
        user = await self.session.get(User, number)
        if user is not None:
            user.name = str(user.name)

    async def do_delete(self, number: int, text: str) -> None:
        user = await self.session.get(User, number)
        if user is not None and user not in self.session.deleted:
            await self.session.refresh(user, ["books", "notes"])
            await self.session.delete(user)

    async def do_replace(self, number: int, text: str) -> None:
        """Delete an object and add another in its place, in one flush."""
        book = await self.session.get(Book, ("a", number))
        if book is not None:
            await self.session.delete(book)
            self.session.add(Book(shelf="a", place=number, title=f"new {text}"))
            await self.session.flush()

    async def do_book(self, number: int, text: str) -> None:
        if await self.session.get(Book, ("a", number)) is None:
            self.session.add(Book(shelf="a", place=number, title=text))
            await self.session.flush()

    async def do_hand_over(self, number: int, text: str) -> None:
        """Change a foreign key through its object only."""
        await self.session.flush()
        book = await self.session.get(Book, ("a", number))
        user = (await self.session.scalars(sa.select(User).order_by(User.id).limit(1))).first()
        if book is not None:
            await self.session.refresh(book, ["owner"])
            book.owner = user if book.owner is not user else None

    async def do_orphan(self, number: int, text: str) -> None:
        user = await self.session.get(User, number)
        if user is not None:
            await self.session.flush()
            await self.session.refresh(user, ["notes"])
            if user.notes:
                user.notes.pop()
            else:
                user.notes.append(Note(text=text))

    async def do_vehicle(self, number: int, text: str) -> None:
        if await self.session.get(Vehicle, number) is None:
            kinds = [
                lambda: Vehicle(id=number),
                lambda: Car(id=number, doors=2),
                lambda: Bike(id=number, bell=text),
            ]
            self.session.add(kinds[number % 3]())
            await self.session.flush()

    async def do_wheels(self, number: int, text: str) -> None:
        await self.session.execute(
            sa.update(Vehicle).where(Vehicle.id >= number).values(wheels=Vehicle.wheels + 1)
        )

    async def do_update_set(self, number: int, text: str) -> None:
        where = User.name == text
        await self.session.execute(
            sa.update(User).where(where).values(color=Color.BLUE, version=User.version + 1)
        )

    async def do_delete_set(self, number: int, text: str) -> None:
        await self.session.execute(sa.delete(Book).where(Book.place > number))

    async def do_other(self, number: int, text: str) -> None:
        """Another transaction changes a row that this session has in memory."""
        await self.do_commit(number, text)
        async with self.shop.sessions() as other, other.begin():
            await other.execute(
                sa.update(User).where(User.id == number).values(name=f"other {text}")
            )

    async def do_flush(self, *_: Any) -> None:
        await self.session.flush()

    async def do_save(self, *_: Any) -> None:
        self.savepoints.append(await self.session.begin_nested())

    async def do_undo(self, *_: Any) -> None:
        if self.savepoints:
            await self.savepoints.pop().rollback()

    async def do_release(self, *_: Any) -> None:
        if self.savepoints:
            await self.savepoints.pop().commit()

    async def do_commit(self, *_: Any) -> None:
        await self.session.commit()
        self.savepoints.clear()

    async def do_rollback(self, *_: Any) -> None:
        await self.session.rollback()
        self.savepoints.clear()


async def rows_of(shop: Shop) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of all classes, in the form of their events."""
    rows = {}
    async with shop.sessions() as session:
        for mapped in (User, Book, Note, Vehicle):
            for row in await session.scalars(sa.select(mapped)):
                model: Any = shop.source.model(type(row))
                await session.refresh(row)
                values = {name: getattr(row, name) for name in model.public}
                rows[model.name, str(model.key_of(values))] = dict(model.stored(values))
    return rows


def replayed(events: list[tuple[str, str, Any, dict[str, Any]]]) -> dict[Any, dict[str, Any]]:
    """The rows that the events describe; fails where an old value is not what the row had."""
    rows: dict[Any, dict[str, Any]] = {}
    for model, signal, subject, data in events:
        key = model, subject
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
            assert differing <= set(data["assigned"])
            assert {n: before[n] for n in changes} == {n: changes[n]["old"] for n in changes}
        assert "password" not in data["instance"]
    return rows


def json_form(rows: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    from edgy_bus.codec import dumps, loads

    return {key: loads(dumps(row)) for key, row in rows.items()}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=st.lists(steps, max_size=25))
async def test_the_events_are_the_changes_of_the_rows(
    database_url: str, tmp_path: Path, program: list[tuple[Any, ...]]
) -> None:
    async with open_shop(database_url, publish=["post_*"]) as shop:
        try:
            async with shop.sessions() as session:
                run = Run(shop, session)
                for name, *arguments in program:
                    await run.step(name, *arguments)
                await session.commit()
            assert replayed(await shop.events()) == json_form(await rows_of(shop))
        finally:
            async with shop.engine.begin() as connection:
                for table in reversed(shop.source.metadata.sorted_tables):
                    await connection.execute(sa.delete(table))
