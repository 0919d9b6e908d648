"""Every kind of field of Edgy goes through an event, and back to an equal instance."""

import datetime as dt
import ipaddress
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

import edgy_bus
from edgy_bus.codec import loads
from edgy_bus.outbox.table import outbox
from tests.edgy.shop import Color, address_of, database_of, edgy, publish

MOMENT = dt.datetime(2026, 11, 28, 12, 30, 1, 250_000, tzinfo=dt.UTC)

VALUES: dict[str, Any] = {
    "amount": Decimal("12.50"),
    "at": MOMENT,
    "day": MOMENT.date(),
    "hour": dt.time(12, 30),
    "took": dt.timedelta(days=1, microseconds=5),
    "data": {"a": [1, None, "ä"]},
    "color": Color.BLUE,
    "raw": b"\x00\xff",
    "address": ipaddress.ip_address("127.0.0.1"),
    "ratio": 0.1,
    "is_new": True,
    "big": 2**62,
    "small": -3,
    "text": "t" * 300,
    "email": "a@b.cc",
    "url": "https://example.org/",
    "key": uuid.UUID(int=7),
}


def declare(registry: Any) -> tuple[Any, Any, Any]:
    models = registry

    class Address(edgy.StrictModel):
        city: str = edgy.CharField(max_length=20)
        zip: str = edgy.CharField(max_length=5, secret=True)

        class Meta:
            abstract = True

    class Thing(edgy.StrictModel):
        id = edgy.UUIDField(primary_key=True)
        amount = edgy.DecimalField(max_digits=10, decimal_places=2, null=True)
        at = edgy.DateTimeField(null=True)
        day = edgy.DateField(null=True)
        hour = edgy.TimeField(null=True)
        took = edgy.DurationField(null=True)
        data = edgy.JSONField(null=True)
        color = edgy.ChoiceField(choices=Color, null=True)
        raw = edgy.BinaryField(max_length=10, null=True)
        address = edgy.IPAddressField(null=True)
        ratio = edgy.FloatField(null=True)
        is_new = edgy.BooleanField(null=True)
        big = edgy.BigIntegerField(null=True)
        small = edgy.SmallIntegerField(null=True)
        text = edgy.TextField(null=True)
        email = edgy.EmailField(max_length=50, null=True)
        url = edgy.URLField(max_length=50, null=True)
        key = edgy.UUIDField(null=True)
        created = edgy.DateTimeField(auto_now_add=True)
        changed = edgy.DateTimeField(auto_now=True)

        class Meta:
            registry = models

    class Seat(edgy.StrictModel):
        row: str = edgy.CharField(max_length=2, primary_key=True)
        place: int = edgy.IntegerField(primary_key=True, autoincrement=False)
        where: Any = edgy.CompositeField(inner_fields=["row", "place"])

        class Meta:
            registry = models

    class Ticket(edgy.StrictModel):
        seat = edgy.ForeignKey(Seat)
        thing = edgy.ForeignKey(Thing, null=True)
        sent_to: Any = edgy.CompositeField(
            inner_fields=Address, prefix_embedded="to_", model=Address
        )

        class Meta:
            registry = models

    return Thing, Seat, Ticket


@pytest.fixture
async def shop(database_url: str) -> Any:
    registry = edgy.Registry(database=database_of(database_url))
    classes = declare(registry)
    bus = edgy_bus.Bus("memory://", service="shop", relay=False, publish=["post_*"])
    source = publish(registry, bus, database=address_of(database_url))
    async with registry, bus:
        await registry.create_all()
        yield source, registry.database, classes


async def instances(database: Any) -> list[dict[str, Any]]:
    rows = await database.fetch_all(sa.select(outbox.c.data).order_by(outbox.c.id))
    return [loads(row.data)["instance"] for row in rows]


@pytest.mark.parametrize("values", [VALUES, dict.fromkeys(VALUES)], ids=["values", "null"])
async def test_values_go_through_events(shop: Any, values: dict[str, Any]) -> None:
    source, database, (Thing, _, _) = shop
    await Thing.query.create(id=uuid.UUID(int=1), **values)
    [event] = await instances(database)
    read = source.model(Thing).read(event)
    row = await Thing.query.get(id=uuid.UUID(int=1))
    assert type(read) is Thing
    for name in (*VALUES, "id", "created", "changed"):
        assert getattr(read, name) == getattr(row, name), name


async def test_updates_compare_all_kinds_of_values(shop: Any) -> None:
    _, database, (Thing, _, _) = shop
    thing = await Thing.query.create(id=uuid.UUID(int=1), **VALUES)
    await thing.update(**VALUES)
    await Thing.query.filter(id=thing.id).update(**dict.fromkeys(VALUES))
    rows = await database.fetch_all(sa.select(outbox.c.data).order_by(outbox.c.id))
    same, nothing = (loads(row.data)["changes"] for row in rows[1:])
    assert set(same) <= {"changed"}, "Edgy writes the time of each update"
    assert set(VALUES) <= set(nothing)
    assert nothing["amount"] == {"old": "12.50", "new": None}


async def test_fields_of_several_columns(shop: Any) -> None:
    source, database, (Thing, Seat, Ticket) = shop
    seat = await Seat.query.create(row="a", place=1)
    thing = await Thing.query.create(id=uuid.UUID(int=1))
    ticket = await Ticket.query.create(
        seat=seat, thing=thing, sent_to={"city": "Bern", "zip": "3000"}
    )
    event = (await instances(database))[-1]
    assert event == {
        "id": ticket.id,
        "seat_row": "a",
        "seat_place": 1,
        "thing": str(thing.id),
        "to_city": "Bern",
    }, "a secret field of an embedded model stays in the database"
    read = source.model(Ticket).read(event)
    assert (read.seat.row, read.seat.place, read.thing.id) == ("a", 1, thing.id)
