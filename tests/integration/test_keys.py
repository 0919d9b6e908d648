"""Keys of every kind, on both databases: the empty text and 0 are keys like any other."""

import datetime as dt
import enum
import uuid
from typing import Annotated, Any, NamedTuple

import pydantic
import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import key_text
from edgy_bus.events import partition_name
from edgy_bus.outbox.table import outbox
from edgy_bus.runtime.inbox import inbox
from edgy_bus.signals import post_save, post_update
from tests.support import eventually


class Code(enum.Enum):
    EMPTY = ""
    FULL = "full"


class Place(NamedTuple):
    """A type of the application that pydantic writes as text."""

    row: int
    seat: int


def place_text(place: Place) -> str:
    return f"{place.row};{place.seat}"


def place_of(value: Any) -> Place:
    return value if isinstance(value, Place) else Place(*map(int, value.split(";")))


TextPlace = Annotated[
    Place, pydantic.PlainValidator(place_of), pydantic.PlainSerializer(place_text)
]


def char(**options: Any) -> Any:
    return edgy.CharField(max_length=20, **options)


KEYS: dict[str, tuple[Any, Any, list[Any]]] = {
    "number": (int, edgy.BigIntegerField, [0, -1, 2**63 - 1]),
    "text": (str, char, ["", " ", "a'\"%"]),
    "duration": (dt.timedelta, char, [dt.timedelta(0), dt.timedelta(seconds=90)]),
    "own type": (TextPlace, char, [Place(10, 2), Place(2, 10)]),
    "uuid": (uuid.UUID, edgy.UUIDField, [uuid.UUID(int=0), uuid.UUID(int=7)]),
    "enum": (Code, lambda **options: edgy.ChoiceField(Code, **options), list(Code)),
}


def declare(own: edgy.Registry, kind: str) -> Any:
    annotation, make, _ = KEYS[kind]

    class Item(edgy.Model):
        key: annotation = make(primary_key=True)  # type: ignore[valid-type]
        parent: annotation | None = edgy.ForeignKey("self", null=True)  # type: ignore[valid-type]
        note: str = edgy.TextField(default="")

        class Meta:
            registry = own

    return Item


@pytest.mark.parametrize("kind", KEYS)
async def test_a_row_of_any_key_is_written_found_and_received(database_url: str, kind: str) -> None:
    database = edgy.Database(database_url)
    bus = edgy.Bus("memory://", service="shop", relay=True)
    registry = edgy.Registry(database, bus=bus)
    Item = declare(registry, kind)
    received: list[tuple[Any, str]] = []

    @post_save(Item, inbox=database, name="note")
    @post_update(Item, inbox=database, name="note")
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        received.append((instance.pk, instance.note))

    bus.on_start(registry.create_all)
    expected: list[tuple[Any, str]] = []
    async with bus, bus.worker():
        for key in KEYS[kind][2]:
            item = await Item.query.create(key=key)
            await item.update(note="updated")
            await item.update(parent=item, note="again")
            expected += [(key, ""), (key, "updated"), (key, "again")]
            assert await Item.query.get(pk=key) == item
            assert await Item.query.filter(parent=item, pk__in=[item]) == [item]
            assert await item.related("parent") == item
        await eventually(lambda: len(received) == len(expected), "all events are received")
        rows = (await database.run(select(inbox.c.subject))).rows
        assert {row["subject"] for row in rows} == {key_text(key) for key in KEYS[kind][2]}
    for key in KEYS[kind][2]:
        own = [(pk, text) for pk, text in received if pk == key]
        assert own == [(pk, text) for pk, text in expected if pk == key]


@pytest.mark.parametrize("kind", KEYS)
async def test_events_of_a_row_have_one_partition_however_they_were_written(
    database_url: str, kind: str
) -> None:
    database = edgy.Database(database_url)
    bus = edgy.Bus("memory://", service="shop", relay=False)
    registry = edgy.Registry(database, bus=bus)
    Item = declare(registry, kind)
    async with bus:
        await registry.create_all()
        for key in KEYS[kind][2]:
            item = await Item.query.create(key=key)
            await Item.query.filter(pk=item).update(note="of a set")
            await item.signals.post_save.send(Item, item)
            await item.delete()
            rows = (await database.run(select(outbox).order_by(outbox.c.id))).rows
            await database.run(outbox.delete())
            assert [row["subject"] for row in rows] == [key_text(key)] * 4
            assert {row["label"] for row in rows} == {partition_name(key_text(key), "", 8)}


@pytest.mark.parametrize("kind", KEYS)
async def test_rows_of_any_key_are_created_changed_and_deleted_in_bulk(
    database_url: str, kind: str
) -> None:
    async with edgy.Registry(database_url) as registry:
        Item = declare(registry, kind)
        await registry.create_all()
        keys = KEYS[kind][2]
        rows = await Item.query.bulk_create([{"key": key} for key in keys])
        assert [row.key for row in rows] == keys
        assert await Item.query.bulk_update(rows, ["note"]) == len(keys)
        assert {row.key for row in await Item.query.filter(pk__in=iter(keys))} == set(keys)
        assert await Item.query.filter(pk__in=keys).delete() == len(keys)


async def test_a_key_may_be_given_as_text(database_url: str) -> None:
    async with edgy.Registry(database_url) as registry:
        Item = declare(registry, "uuid")
        await registry.create_all()
        key = uuid.UUID(int=7)
        item = await Item.query.create(key=str(key), parent=str(key))
        assert (type(item.key), item.key, item.parent) == (uuid.UUID, key, key)
        await item.update(parent=str(key))
        await Item.query.filter(pk=str(key)).update(parent=str(key))
        assert await Item.query.filter(pk=str(key), parent=str(key).upper()).count() == 1
