"""A service and a group for a rolling upgrade: programs of two releases run this one module.

It uses the public API only, as far as both releases have it.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import edgy_bus as edgy
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings

PLACE = {"url": os.environ["ROLLING_BROKER"], "prefix": os.environ["ROLLING_PREFIX"]}
RELEASE = os.environ.get("ROLLING_RELEASE", "")
ORDERS = 8

database = edgy.Database(os.environ["ROLLING_DATABASE"])
bus = edgy.Bus(
    **PLACE,
    service="shop",
    relay=False,
    events=EventSettings(partitions=4),
    relaying=RelaySettings(lease=1.0, poll=0.1, backoff=0.2, trim_every=0.5, keep=0),
)
registry = edgy.Registry(database, bus=bus)
bus.on_start(registry.create_all)


class Order(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    state: int = edgy.IntegerField(default=0)

    class Meta:
        registry = registry


mail_database = edgy.Database(os.environ["ROLLING_DATABASE"])
mail_registry = edgy.Registry(mail_database)
mail = edgy.Bus(
    **PLACE,
    service="mail",
    working=WorkerSettings(lease=1.0, block=0.2, backoff=0.2, grace=10.0),
)
mail.on_start(mail_registry.create_all)


class Effect(edgy.Model):
    """A receiver of a release was called for an event."""

    id: int = edgy.BigIntegerField(primary_key=True)
    receiver: str = edgy.CharField(max_length=20)
    subject: str = edgy.CharField(max_length=20)
    sequence: int = edgy.BigIntegerField()
    release: str = edgy.CharField(max_length=20)

    class Meta:
        registry = mail_registry


async def note(receiver: str, event: edgy.Event) -> None:
    await Effect.query.create(
        receiver=receiver, subject=event.subject, sequence=event.sequence, release=RELEASE
    )


@mail.receiver("shop.Order", "post_save", inbox=mail_database, name="exact")
@mail.receiver("shop.Order", "post_update", inbox=mail_database, name="exact")
async def exact(sender: str, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
    await note("exact", event)


@mail.receiver("shop.Order", "post_save", name="plain")
@mail.receiver("shop.Order", "post_update", name="plain")
async def plain(sender: str, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
    await note("plain", event)


async def write() -> None:
    """Change orders that other programs change as well, until there is a file named `enough`."""
    async with bus:
        print(f"writes with {edgy.__file__}", flush=True)
        for _ in range(ORDERS if RELEASE == "old" else 0):
            await Order.query.create()
        number = 0
        while not Path("enough").exists():  # noqa: ASYNC240 - a look at a folder
            number += 1
            keys = [order.id for order in await Order.query.limit(ORDERS)]
            if keys:
                order = await Order.query.get(id=random.choice(keys))
                await order.update(state=number)
            await asyncio.sleep(0.015)
