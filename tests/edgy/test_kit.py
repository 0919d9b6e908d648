"""The kit for tests runs the receivers of Edgy's models, if rows may stay."""

from typing import Any

import edgy_bus
from edgy_bus.signals import post_save
from edgy_bus.testing.inline_bus import inline
from tests.edgy.shop import Models, address_of, publish


async def test_a_test_drains_the_bus(database_url: str) -> None:
    models = Models(database_url)
    bus = edgy_bus.Bus("redis://nowhere", service="shop")
    source = publish(models.registry, bus, database=address_of(database_url))

    @post_save(models.Author, inbox=source.inbox)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        await models.Log.query.create(text=instance.name)

    async with models.registry:
        await models.registry.create_all()
    async with inline(bus, rollback=False, mode="twice") as kit:
        await models.Author.query.create(name="Ann")
        await models.Author.query.bulk_create([{"name": "Bea"}])
        await kit.drain()
        assert sorted(log.text for log in await models.Log.query.all()) == ["Ann", "Bea"]
