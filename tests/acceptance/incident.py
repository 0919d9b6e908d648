"""Define a service and a receiver whose downstream is away while a file exists."""

import json
import os
from pathlib import Path
from typing import Any

import edgy_bus as edgy
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings

BROKEN = Path("broken")
HANDLED = Path("handled.jsonl")

bus = edgy.Bus(
    os.environ["EDGY_BUS_BROKER"],
    service="shop",
    prefix=os.environ["INCIDENT_PREFIX"],
    relay=False,
    events=EventSettings(partitions=2),
    relaying=RelaySettings(poll=0.2, backoff=0.2),
    working=WorkerSettings(lease=3, block=0.2, backoff=0.2),
)
registry = edgy.Registry(edgy.Database("sqlite:///shop.sqlite"), bus=bus)
bus.on_start(registry.create_all)


class Order(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    state: int = edgy.IntegerField(default=0)

    class Meta:
        registry = registry


def handle(order: int, state: int) -> None:
    if BROKEN.exists():
        raise ConnectionError(f"the shipper answered order {order} with 503")
    with HANDLED.open("a") as file:
        file.write(json.dumps([order, state]) + "\n")


@bus.receiver("shop.Order", "post_save", name="ship", retry=edgy.Retry(attempts=1))
@bus.receiver("shop.Order", "post_update", name="ship", retry=edgy.Retry(attempts=1))
async def ship(sender: Any, instance: Any, **kwargs: Any) -> None:
    handle(instance.id, instance.state)
