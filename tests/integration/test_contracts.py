"""Contracts beside real events: what services write fits what they promise."""

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, NamedTuple

import jsonschema
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from redis.asyncio import Redis

import edgy_bus as edgy
from edgy_bus.codec import dumps, loads
from edgy_bus.contracts import json_schema
from tests.support import eventually
from tests.typing import shop_events
from tests.unit.contracts.shop import Line, Shop, Size

RELAYING = edgy.RelaySettings(poll=0.05, lease=1.0)


class Entry(NamedTuple):
    """The fields of a stream entry."""

    head: bytes
    data: bytes

    @property
    def structured(self) -> Any:
        """Return the event in the structured form of CloudEvents."""
        return {**loads(self.head), "data": loads(self.data)}


async def entries(client: Redis, prefix: str) -> list[Entry]:
    """Return every entry of every stream."""
    keys = [key async for key in client.scan_iter(match=f"{prefix}:*:events")]
    found = [fields for key in sorted(keys) for _, fields in await client.xrange(key)]
    return [Entry(fields[b"head"], fields[b"data"]) for fields in found]


async def work(shop: Shop) -> None:
    """Write an event of every kind."""
    Customer, Order = shop.Customer, shop.Order
    ada = await Customer.query.create(email="ada@example.net")
    order = await Order.query.create(customer=ada.id)
    order.total, order.size, order.note = Decimal("12.50"), Size.LARGE, "fragile"
    order.lines = [Line(title="Tea", price=Decimal("2.5"), parts=[Line(title="Pot")])]
    order.wait, order.day = dt.timedelta(minutes=1.5), dt.date(2026, 12, 1)
    await order.save()
    await order.update(weight=1e22, extra=[None, {"deep": 1.5}], note=None)
    await Order.query.bulk_create([{"customer": ada.id, "photo": b"\x01"}, {"customer": ada.id}])
    await Order.query.filter(note=None).update(state="paid")
    await Order.query.filter(note=None).update(expand=False, is_gift=True)
    await order.delete()
    await Order.query.delete(expand=False)
    with shop.bus.context(actor="ada", tries=2):
        await Customer.meta.signals.greeted.send(Customer, ada, words=["hello"])
        await Customer.meta.signals.greeted.send(Customer, times=3)


@pytest.fixture
async def written(
    database_url: str, redis_url: str, redis_client: Redis, prefix: str
) -> AsyncIterator[tuple[Shop, list[Entry]]]:
    shop = Shop(database_url, redis_url, prefix=prefix, relaying=RELAYING)
    async with shop.bus:
        await shop.registry.create_all()
        await work(shop)

        async def is_published() -> bool:
            types = Counter(
                loads(each.head)["type"] for each in await entries(redis_client, prefix)
            )
            return (
                types["shop.Customer.greeted"] == 2
                and types["shop.Order.post_delete"] == 2
                and types["shop.Order.pre_delete"] >= 2
            )

        await eventually(is_published, "the last events")
        yield shop, await entries(redis_client, prefix)


async def test_every_event_fits_its_contract(written: tuple[Shop, list[Entry]]) -> None:
    shop, listed = written
    schema = loads(dumps(json_schema(shop.contract())))
    validator = jsonschema.Draft7Validator(schema)
    for entry in listed:
        event = entry.structured
        # By the schema of its type: the error of a union names no reason.
        name = f"#/definitions/{event['type']}"
        jsonschema.Draft7Validator({**schema, "oneOf": [{"$ref": name}]}).validate(event)
        assert validator.is_valid(event)
    signals = [
        f"{when}_{verb}" for when in ("pre", "post") for verb in ("save", "update", "delete")
    ]
    assert {loads(each.head)["type"] for each in listed} == {
        *(f"shop.Order.{signal}" for signal in signals),
        "shop.Customer.post_save",
        "shop.Customer.greeted",
    }


async def test_generated_classes_read_every_event(written: tuple[Shop, list[Entry]]) -> None:
    _, listed = written
    events = [shop_events.read_event(*entry) for entry in listed]
    assert None not in events
    updates = [each for each in events if isinstance(each, shop_events.OrderPostUpdate)]
    [update] = [each for each in updates if each.data.changes and each.data.changes.weight]
    row = update.data.instance
    assert row is not None
    assert (row.total, row.size, row.weight) == (Decimal("12.50"), "large", 1e22)
    assert row.wait == dt.timedelta(minutes=1.5)
    assert row.photo == b"\x00\xff"
    assert (row.pair, row.extra) == ((1, "x"), [None, {"deep": 1.5}])
    assert row.lines[0].parts is not None
    assert row.lines[0].parts[0].title == "Pot"
    assert row.made.utcoffset() == dt.timedelta()
    note = update.data.changes.note if update.data.changes else None
    assert note == shop_events.Change[str | None](old="fragile", new=None)
    greetings = [each for each in events if isinstance(each, shop_events.CustomerGreeted)]
    assert sorted(str(each.data.kwargs_) for each in greetings) == [
        "{'times': 3}",
        "{'words': ['hello']}",
    ]


async def test_every_event_is_a_cloud_event_for_the_official_package(
    written: tuple[Shop, list[Entry]],
) -> None:
    _, listed = written
    for entry in listed:
        read = JSONFormat().read(CloudEvent, dumps(entry.structured))
        assert read.get_specversion() == "1.0"
        assert read.get_type() == entry.structured["type"]
        assert read.get_id() == entry.structured["id"]
        assert read.get_source() == "shop"
        assert read.get_subject() == entry.structured.get("subject")
        assert read.get_time() == dt.datetime.fromisoformat(entry.structured["time"])
        assert read.get_data() == entry.structured["data"]
        names = ("schemaversion", "sequence", "incarnation", "actor")
        for name in names:
            assert read.get_extension(name) == entry.structured.get(name)
        # And back: nothing is lost on the way through another program.
        written_again = loads(JSONFormat().write(read))
        time = dt.datetime.fromisoformat(written_again.pop("time"))
        event = entry.structured
        assert time == dt.datetime.fromisoformat(event.pop("time"))
        assert written_again == event
