"""What sessions do to rows of every kind: replaying the events gives the rows."""

import asyncio
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, with_loader_criteria

from edgy_bus.errors import OperationError
from tests.integration.alchemy import Shop
from tests.integration.alchemy_zoo import (
    ROOTS,
    Animal,
    Below,
    Bird,
    Cat,
    Group,
    Kind,
    Loose,
    Node,
    Parrot,
    Part,
    Passive,
    Point,
    Tag,
    Thing,
    open_zoo,
)
from tests.integration.test_sqlalchemy_property import json_form, replayed
from tests.support import eventually

Work = Callable[[Session], None]

PUBLISHED: dict[str, Work] = {}
REFUSED: dict[str, tuple[str, Work]] = {}


def published(work: Work) -> Work:
    """Its events are the changes of the rows."""
    PUBLISHED[work.__name__] = work
    return work


def refused(text: str) -> Callable[[Work], Work]:
    """It fails with an error that contains the text, and leaves neither rows nor events."""

    def keep(work: Work) -> Work:
        REFUSED[work.__name__] = (text, work)
        return work

    return keep


async def rows_of(shop: Shop) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of all classes, in the form of their events."""
    rows = {}
    async with shop.sessions() as session:
        for mapped in ROOTS:
            for row in await session.scalars(sa.select(mapped)):
                model: Any = shop.source.model(type(row))
                await session.refresh(row, list(model.public))
                values = {name: getattr(row, name) for name in model.public}
                rows[model.name, str(model.key_of(values))] = dict(model.stored(values))
    return rows


async def empty(shop: Shop) -> None:
    async with shop.engine.begin() as connection:
        for table in reversed(shop.source.metadata.sorted_tables):
            await connection.execute(sa.delete(table))


# Objects


@published
def values_of_all_types(session: Session) -> None:
    thing = Thing()
    session.add(thing)
    session.commit()
    for change in (
        lambda: thing.settings.update(b=2),
        lambda: setattr(thing, "hybrid", 5),
        lambda: setattr(thing, "other_name", 6),
        lambda: setattr(thing, "text", "deferred"),
        lambda: setattr(thing, "secret", "other"),
        lambda: setattr(thing, "number", Thing.number + 1),
        lambda: (session.expire(thing), setattr(thing, "ratio", 1.5)),
        lambda: (session.expire(thing), setattr(thing, "amount", Decimal("1.1"))),
        lambda: setattr(thing, "by_value", Kind.ALIAS),
        lambda: setattr(thing, "span", dt.timedelta(microseconds=1)),
        lambda: setattr(thing, "raw", b""),
        lambda: session.refresh(thing),
    ):
        change()
        session.commit()


@published
def a_merge(session: Session) -> None:
    thing = Thing()
    session.add(thing)
    session.commit()
    key = thing.id
    session.expunge_all()
    session.merge(Thing(id=key, number=9, secret="other"))
    session.merge(Thing(number=10))
    session.commit()
    session.delete(session.get(Thing, key))
    session.commit()


@published
def composites_and_many_to_many(session: Session) -> None:
    group = Group(id=1, point=Point(1, 2), tags=[Tag(id=1), Tag(id=2)])
    session.add(group)
    session.commit()
    group.point = Point(3, 4)
    group.tags.pop()
    session.commit()
    session.delete(group)
    session.commit()


@published
def parts_of_a_composite_key(session: Session) -> None:
    group = Group(id=1, parts=[Part(place=1), Part(place=2)])
    session.add(group)
    session.commit()
    group.parts[0].text = "changed"
    group.parts.pop()
    session.commit()
    group.parts = [Part(place=1, text="in the place of another")]
    session.commit()
    session.expire_all()
    session.delete(group)
    session.commit()


@published
def an_object_in_the_place_of_one_that_is_the_same(session: Session) -> None:
    cat = Cat(id=1, lives=9)
    session.add(cat)
    session.commit()
    session.delete(cat)
    session.add(Cat(id=1))
    session.commit()


@published
def objects_of_a_hierarchy(session: Session) -> None:
    session.add_all([Animal(id=1), Bird(id=2), Cat(id=3), Parrot(id=4)])
    session.commit()
    for key, name in ((2, "legs"), (4, "words"), (3, "lives"), (4, "legs")):
        setattr(session.get(Animal, key), name, key)
    session.commit()
    for animal in session.scalars(sa.select(Animal)).all():
        session.delete(animal)
    session.commit()


@published
def handlers_that_change_objects(session: Session) -> None:
    def before_flush(session: Session, *_: Any) -> None:
        groups = [each for each in [*session.new, *session.dirty] if isinstance(each, Group)]
        for each in groups:
            each.x = 77
        if any(each in session.new for each in groups):
            session.add(Group(id=50))

    def after_flush(session: Session, *_: Any) -> None:
        for each in list(session.new):
            if isinstance(each, Group) and each.id < 50:
                session.add(Tag(id=each.id))

    def before_write(_: Any, __: Any, target: Group) -> None:
        target.y = (target.y or 0) + 1

    sa.event.listen(session, "before_flush", before_flush)
    sa.event.listen(session, "after_flush", after_flush)
    for name in ("before_insert", "before_update"):
        sa.event.listen(Group, name, before_write)
    try:
        group = Group(id=1, y=1)
        session.add(group)
        session.commit()
        group.name = "changed"
        session.commit()
    finally:
        for name in ("before_insert", "before_update"):
            sa.event.remove(Group, name, before_write)


@published
def savepoints(session: Session) -> None:
    group = Group(id=1)
    session.add(group)
    session.flush()
    outer = session.begin_nested()
    group.name = "outer"
    session.flush()
    inner = session.begin_nested()
    session.add(Group(id=2))
    session.flush()
    inner.rollback()
    outer.commit()
    session.commit()
    group.name = "kept"
    savepoint = session.begin_nested()
    group.x = 4
    savepoint.rollback()
    session.commit()


# Rows that the database deletes or changes


def a_group(session: Session) -> None:
    group = Group(id=1, parts=[Part(place=1)], loose=[Loose(id=1), Loose(id=2)])
    group.passive = [Passive(id=1), Passive(id=2)]
    session.add_all([group, Group(id=2, passive=[Passive(id=3)])])
    session.flush()
    session.add_all([Below(id=number, passive_id=number) for number in (1, 2, 3)])
    session.commit()
    session.expunge_all()


@published
def foreign_keys_of_a_deleted_object(session: Session) -> None:
    a_group(session)
    session.delete(session.get(Group, 1))
    session.commit()


@published
def foreign_keys_of_a_deleted_set(session: Session) -> None:
    a_group(session)
    session.execute(sa.delete(Group).where(Group.id == 1))
    session.commit()


@published
def foreign_keys_in_a_tree(session: Session) -> None:
    for above, number in [(None, 1), (1, 2), (2, 3), (1, 4), (None, 5), (5, 6), (3, 7)]:
        session.add(Node(id=number, above=above))
        session.flush()
    session.commit()
    session.expunge_all()
    session.delete(session.get(Node, 2))
    session.commit()
    session.execute(sa.delete(Node).where(Node.id.in_([1, 5])))
    session.commit()


@published
def a_row_that_is_changed_and_deleted_by_a_foreign_key(session: Session) -> None:
    a_group(session)
    session.execute(sa.insert(Node), [{"id": 1}])
    session.execute(sa.insert(Node), [{"id": 2, "above": 1}, {"id": 3}])
    session.commit()
    passive = session.get_one(Passive, 1)
    passive.group_id = 2
    session.get_one(Node, 2).above = 3
    session.delete(session.get_one(Node, 3))
    session.delete(session.get(Group, 1))
    session.commit()


@published
def foreign_keys_between_classes_of_a_hierarchy(session: Session) -> None:
    session.add_all([Bird(id=1), Parrot(id=2)])
    session.flush()
    session.add_all([Cat(id=3, plays_with=1), Cat(id=4, plays_with=2)])
    session.commit()
    session.expunge_all()
    for key in (1, 2):
        session.delete(session.get(Animal, key))
    session.commit()


# Sets


@published
def sets_with_every_synchronization(session: Session) -> None:
    for how in ("auto", "evaluate", "fetch", False):
        options: Any = {"synchronize_session": how}
        session.add_all([Group(id=number) for number in range(3)])
        session.add_all([Part(group_id=0, place=place) for place in range(2)])
        session.commit()
        groups = session.scalars(sa.select(Group).order_by(Group.id)).all()
        update = sa.update(Group).where(Group.id > 0)
        session.execute(update.values(name="z"), execution_options=options)
        session.execute(update, {"name": "y"}, execution_options=options)
        session.query(Group).filter(Group.id == 0).update({"x": 1}, synchronize_session=how)
        returning = sa.update(Group).where(Group.id == 1).values(name="ret").returning(Group)
        rows = session.scalars(returning, execution_options=options).all()
        if how is not False:
            assert [row.name for row in rows] == ["ret"]
            # SQLAlchemy does not look at parameters to bring objects up to date.
            assert [group.name for group in groups] == ["g", "ret", "z"]
        bound = sa.delete(Part).where(Part.place == sa.bindparam("here"))
        session.execute(bound, {"here": 1}, execution_options={"synchronize_session": False})
        session.query(Part).delete(synchronize_session=how)
        session.execute(sa.delete(Group), execution_options=options)
        session.commit()
        session.expunge_all()


@published
def sets_with_other_tables(session: Session) -> None:
    session.add(Group(id=1, parts=[Part(place=1), Part(place=2)]))
    session.add(Group(id=2))
    session.commit()
    options: Any = {"synchronize_session": False}
    joined = sa.update(Part).where(Part.group_id == Group.id, Group.name == "g")
    session.execute(joined.values(text=Group.name), execution_options=options)
    session.execute(
        sa.update(Group).where(Part.group_id == Group.id).values(name="k"),
        execution_options=options,
    )
    large = sa.select(Group.id).where(Group.id > 1).cte("large")
    session.execute(
        sa.update(Group).where(Group.id.in_(sa.select(large.c.id))).values(x=4),
        execution_options=options,
    )
    session.commit()


@published
def sets_of_a_hierarchy(session: Session) -> None:
    session.add_all([Animal(id=1), Bird(id=2), Cat(id=3), Parrot(id=4)])
    session.commit()
    for statement in (
        sa.update(Animal).values(legs=Animal.legs + 1),
        sa.update(Bird).where(Bird.bird_id == 2).values(wings=Bird.wings + 1),
        sa.update(Parrot).values(words=3),
        sa.update(Cat).values(legs=3),
    ):
        session.execute(statement)
    session.commit()


@published
def a_set_that_is_rolled_back(session: Session) -> None:
    session.add(Group(id=1))
    session.commit()
    session.execute(sa.update(Group).values(name="gone"))
    session.rollback()
    assert session.scalars(sa.select(Group.name)).all() == ["g"]
    session.execute(sa.delete(Group))
    session.rollback()
    assert session.scalars(sa.select(Group.name)).all() == ["g"]
    session.execute(sa.insert(Group).values(id=2, name="gone"))
    session.rollback()
    assert session.scalars(sa.select(Group.name)).all() == ["g"]


@published
def a_set_before_the_flush_of_the_same_row(session: Session) -> None:
    session.add(Group(id=1))
    session.commit()

    def count(session: Session, *_: Any) -> None:
        session.execute(sa.update(Group).values(y=Group.y + 1))

    sa.event.listen(session, "before_flush", count)
    session.get_one(Group, 1).x = 5
    session.commit()


@published
def updates_by_key(session: Session) -> None:
    group = Group(id=1)
    session.add_all([group, Group(id=2), Part(group_id=1, place=1), Parrot(id=1), Cat(id=2)])
    session.commit()
    session.execute(sa.update(Group), [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}])
    assert group.name == "x"
    session.execute(sa.update(Group), [{"id": 1, "name": "x"}, {"id": 2, "x": 3}])
    session.execute(sa.update(Part), [{"group_id": 1, "place": 1, "text": "x"}])
    session.execute(sa.update(Animal), [{"id": 1, "legs": 2}, {"id": 2, "legs": 3}])
    session.commit()


# Inserts


@published
def inserts(session: Session) -> None:
    result: Any = session.execute(sa.insert(Group).values(name="a"))
    assert session.get_one(Group, result.inserted_primary_key[0]).name == "a"
    session.execute(sa.insert(Group).values([{"name": "b"}, {"name": "c"}]))
    session.execute(sa.insert(Group), [{"name": "d"}, {"name": "e", "x": 4}])
    session.execute(sa.insert(Group), {"name": "f"})
    session.execute(sa.insert(Tag).from_select(["id"], sa.select(Group.id + 1000)))
    session.execute(sa.insert(Part), [{"group_id": 1, "place": place} for place in range(3)])
    session.execute(sa.insert(Thing), [{"number": 1}, {"number": 2, "secret": "z"}])
    session.commit()


@published
def inserts_that_return(session: Session) -> None:
    names = sa.insert(Group).returning(Group.name)
    assert session.scalars(names, [{"name": "g"}, {"name": "h"}]).all() == ["g", "h"]
    groups = session.scalars(sa.insert(Group).returning(Group), [{"name": "i"}, {"name": "j"}])
    assert [group.name for group in groups] == ["i", "j"]
    [row] = session.execute(sa.insert(Group).values(name="k").returning(Group, Group.x)).all()
    assert (row[0].name, row[1], len(row)) == ("k", 0, 2)
    ordered = sa.insert(Group).returning(Group.id, sort_by_parameter_order=True)
    rows = session.execute(ordered, [{"id": 900}, {"id": 800}]).mappings().all()
    assert [row["id"] for row in rows] == [900, 800]
    assert session.scalar(sa.insert(Thing).values(number=3).returning(Thing.amount)) == Decimal(
        "1.10"
    )
    session.commit()


@published
def inserts_of_a_hierarchy(session: Session) -> None:
    session.execute(sa.insert(Animal), [{"id": 1}, {"id": 2}])
    session.execute(sa.insert(Cat), [{"id": 3, "lives": 7}, {"id": 4}])
    session.execute(sa.insert(Bird), [{"id": 5, "bird_id": 5, "wings": 3}])
    session.execute(sa.insert(Animal).values(id=9, species="cat"))
    session.commit()


def insert_into(session: Session, mapped: type) -> Any:
    from sqlalchemy.dialects import postgresql, sqlite

    name = session.connection().dialect.name
    return (postgresql if name == "postgresql" else sqlite).insert(mapped)


@published
def inserts_that_skip_conflicts(session: Session) -> None:
    skipping = insert_into(session, Group).on_conflict_do_nothing()
    session.execute(sa.insert(Group), [{"id": 1}])
    session.execute(skipping, [{"id": 1}, {"id": 2}])
    for key in (1, 3):
        session.execute(skipping.values(id=key))
    session.execute(skipping.values([{"id": 3}, {"id": 4}]))
    session.commit()


@published
def bulk_methods(session: Session) -> None:
    session.bulk_insert_mappings(sa.inspect(Group), [{"id": 101, "name": "x"}, {"name": "y"}])
    session.bulk_save_objects(
        [Group(id=7), Group(id=8, name="q"), Tag(id=1), Cat(id=1), Bird(id=2, bird_id=2)]
    )
    session.commit()
    group = session.get_one(Group, 7)
    session.refresh(group)
    session.expunge(group)
    group.name = "changed"
    session.bulk_save_objects([group, Group(id=10)], preserve_order=False)
    session.bulk_save_objects([group], update_changed_only=False)
    session.bulk_update_mappings(sa.inspect(Group), [{"id": 7, "name": "z"}, {"id": 8, "x": 3}])
    session.bulk_save_objects([])
    session.commit()


@pytest.mark.parametrize("name", PUBLISHED)
async def test_the_events_are_the_changes(database_url: str, name: str) -> None:
    async with open_zoo(database_url) as shop:
        try:
            async with shop.sessions() as session:
                await session.run_sync(PUBLISHED[name])
            events = await shop.events()
            assert replayed(events) == json_form(await rows_of(shop))
            for model, signal, subject, data in events:
                is_known = data.get("assigned") or "secret" in name
                assert signal != "post_update" or is_known or model == "Thing", subject
        finally:
            await empty(shop)


# What is refused


@refused("flush\\(\\) between")
def an_object_in_the_place_of_one_of_another_class(session: Session) -> None:
    bird = Bird(id=1)
    session.add(bird)
    session.flush()
    session.delete(bird)
    session.add(Cat(id=1))
    session.flush()


@refused("joined inheritance")
def an_insert_into_one_of_two_tables(session: Session) -> None:
    session.execute(sa.insert(Bird).values(bird_id=1, wings=3))


@refused("cannot be read by its key")
def a_row_without_its_other_part(session: Session) -> None:
    session.execute(sa.insert(Animal).values(id=1, species="bird"))


@refused("old values")
def an_upsert(session: Session) -> None:
    session.execute(sa.insert(Group), [{"id": 1}])
    upsert = insert_into(session, Group).values(id=1, name="x")
    session.execute(upsert.on_conflict_do_update(index_elements=["id"], set_={"name": "x"}))


@refused("without their objects")
def bulk_methods_that_return_defaults(session: Session) -> None:
    session.bulk_insert_mappings(sa.inspect(Group), [{"name": "x"}], return_defaults=True)


@refused("without their objects")
def an_insert_as_core_has_it(session: Session) -> None:
    session.execute(sa.insert(Group), [{"name": "x"}], execution_options={"dml_strategy": "raw"})


@refused("without their objects")
def a_statement_of_a_handler_inside_of_a_set(session: Session) -> None:
    session.add_all([Group(id=1), Tag(id=1)])
    session.flush()

    def delete_tags(state: Any) -> None:
        if state.is_update:
            state.session.connection().execute(sa.delete(Tag.__table__))

    sa.event.listen(session, "do_orm_execute", delete_tags)
    session.execute(sa.update(Group).values(name="x"))


INSIDE: dict[str, Work] = {
    "bulk": lambda session: session.bulk_insert_mappings(
        sa.inspect(Tag), [{"id": 1}], return_defaults=True
    ),
    "insert": lambda session: session.execute(sa.insert(Tag), [{"id": 1}]) and None,
    "update": lambda session: session.execute(sa.update(Group).values(name="in")) and None,
    "core": lambda session: session.execute(sa.insert(Tag.__table__).values(id=1)) and None,
}
"""Changes past the objects, for a handler of a flush."""


@pytest.mark.parametrize("how", INSIDE)
@pytest.mark.parametrize("place", ["before_flush", "after_flush", "before_insert", "after_insert"])
async def test_a_change_inside_of_a_flush_is_published_or_refused(
    database_url: str, place: str, how: str
) -> None:
    def handler(*arguments: Any) -> None:
        first = arguments[0]
        INSIDE[how](first if isinstance(first, Session) else sa.orm.object_session(arguments[2]))

    def work(session: Session) -> None:
        target: Any = session if "flush" in place else Group
        sa.event.listen(target, place, handler)
        try:
            session.add(Group(id=1))
            session.commit()
        finally:
            sa.event.remove(target, place, handler)

    async with open_zoo(database_url) as shop:
        try:
            async with shop.sessions() as session:
                try:
                    await session.run_sync(work)
                except OperationError:
                    await session.rollback()
                    assert how in ("bulk", "core") or "insert" in place
            assert replayed(await shop.events()) == json_form(await rows_of(shop))
        finally:
            await empty(shop)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_event_could_report_is_refused(database_url: str, name: str) -> None:
    text, work = REFUSED[name]
    async with open_zoo(database_url) as shop:
        try:
            async with shop.sessions() as session:
                with pytest.raises(OperationError, match=text):
                    await session.run_sync(work)
                await session.rollback()
            assert await shop.events() == []
            assert await rows_of(shop) == {}
        finally:
            await empty(shop)


async def test_a_set_has_no_events_of_rows_that_its_options_exclude(database_url: str) -> None:
    def work(session: Session) -> None:
        session.add_all([Group(id=number) for number in range(3)])
        session.commit()
        only = with_loader_criteria(Group, Group.id == 1)
        session.execute(sa.update(Group).values(x=9).options(only))
        session.execute(sa.delete(Group).options(only))
        session.commit()

    async with open_zoo(database_url) as shop:
        try:
            async with shop.sessions() as session:
                await session.run_sync(work)
            assert (await shop.kinds())[3:] == [
                ("Group", "post_update", "1"),
                ("Group", "post_delete", "1"),
            ]
        finally:
            await empty(shop)


async def test_a_row_that_the_database_deletes_is_reported_as_it_was_at_last(
    database_url: str,
) -> None:
    """Without the lock of the row, the event would have the row before the other change."""
    async with open_zoo(database_url) as shop:
        try:
            async with shop.sessions() as session:
                session.add(Group(id=1, parts=[Part(place=1, text="old")]))
                await session.commit()

            async def delete() -> None:
                async with shop.sessions() as session:
                    await session.execute(sa.delete(Group))
                    await session.commit()

            async with shop.sessions() as session:
                await session.execute(sa.update(Part).values(text="new"))
                deleting = asyncio.create_task(delete())
                # Until the other session waits: PostgreSQL says so, SQLite waits for the file.
                if database_url.startswith("postgresql"):
                    await eventually(lambda: _is_waiting(session), "the other session")
                await session.commit()
            await deleting
            events = await shop.events()
            assert replayed(events) == {}
        finally:
            await empty(shop)


async def _is_waiting(session: Any) -> bool:
    # Not pg_stat_activity, which stays the same within a transaction.
    blocked = "NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    waiting = sa.text(f"SELECT count(*) FROM pg_locks WHERE {blocked}")
    return bool(await session.scalar(waiting))
