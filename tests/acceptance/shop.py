"""Define a service and the groups that receive its events, as a user writes them.

Every process of a test runs this file.
"""

import asyncio
import os
import time
from typing import Any

import edgy_bus as edgy
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings

DEFAULTS = bool(os.environ.get("SHOP_DEFAULTS"))
WORKING = (
    WorkerSettings() if DEFAULTS else WorkerSettings(lease=1.5, block=0.2, backoff=0.2, grace=10.0)
)
RELAYING = (
    RelaySettings()
    if DEFAULTS
    else RelaySettings(lease=1.5, poll=0.2, backoff=0.2, trim_every=0.5, keep=0)
)

database = edgy.Database(os.environ["SHOP_DATABASE"])
bus = edgy.Bus(
    os.environ["SHOP_BROKER"],
    service="shop",
    prefix=os.environ["SHOP_PREFIX"],
    relay=False,
    events=EventSettings(partitions=2),
    relaying=RELAYING,
)
registry = edgy.Registry(database, bus=bus)
bus.on_start(registry.create_all)


class Order(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    state: int = edgy.IntegerField(default=0)

    class Meta:
        registry = registry


mail_database = edgy.Database(os.environ["SHOP_DATABASE"])
mail_registry = edgy.Registry(mail_database)
mail = edgy.Bus(
    os.environ["SHOP_BROKER"], service="mail", prefix=os.environ["SHOP_PREFIX"], working=WORKING
)
mail.on_start(mail_registry.create_all)


class Sent(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    order_id: int = edgy.BigIntegerField()
    state: int = edgy.IntegerField()
    process: int = edgy.IntegerField()

    class Meta:
        registry = mail_registry


class Call(edgy.Model):
    """A receiver without an inbox was called."""

    id: int = edgy.BigIntegerField(primary_key=True)
    order_id: int = edgy.BigIntegerField()
    state: int = edgy.IntegerField()
    event: str = edgy.CharField(max_length=40)
    process: int = edgy.IntegerField()
    at: float = edgy.FloatField()

    class Meta:
        registry = mail_registry


def block_until(file: str) -> None:
    """Let the event loop stand still until the test goes on."""
    print("begun", flush=True)
    while not os.path.exists(file):
        time.sleep(0.01)


@mail.receiver("shop.Order", "post_save", inbox=mail_database, name="send")
@mail.receiver("shop.Order", "post_update", inbox=mail_database, name="send")
async def send(sender: str, instance: Any, **kwargs: Any) -> None:
    seconds = float(os.environ.get("SHOP_SLOW", "0"))
    if seconds:
        print("begun", flush=True)
        await asyncio.sleep(seconds)
    if file := os.environ.get("SHOP_BLOCKED_UNTIL"):
        block_until(file)
    await Sent.query.create(order_id=instance.id, state=instance.state, process=os.getpid())


audit = edgy.Bus(
    os.environ["SHOP_BROKER"], service="audit", prefix=os.environ["SHOP_PREFIX"], working=WORKING
)
audit.on_start(mail_database.connect)


@audit.receiver("shop.Order", "post_save", name="count")
@audit.receiver("shop.Order", "post_update", name="count")
async def count(sender: str, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
    told = {"order_id": instance.id, "state": instance.state, "event": event.id}
    await Call.query.create(**told, process=os.getpid(), at=time.time())
    await asyncio.sleep(float(os.environ.get("SHOP_SLOW", "0")))
