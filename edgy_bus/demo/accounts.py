"""The service `accounts`: owns users, and knows nobody who listens."""

from typing import Any

import edgy_bus as edgy
from edgy_bus.demo.place import Place
from edgy_bus.signals import pre_save

place = Place.from_environment()
database = edgy.Database(place.accounts)
bus = edgy.Bus(
    place.broker, service="accounts", prefix=place.prefix, relay=False, relaying=place.relaying
)
registry = edgy.Registry(database=database, bus=bus)


class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.EmailField()
    password: str = edgy.CharField(max_length=100, secret=True, default="")
    version: int = edgy.IntegerField(default=1)

    class Meta:
        registry = registry


class Vetoed(Exception):
    """We do not want this user."""


@pre_save(User)
async def check(sender: Any, instance: User, **kwargs: Any) -> None:
    """Runs here, before the INSERT: it may change the row or stop the operation."""
    instance.email = instance.email.strip().lower()
    if instance.email.endswith("@spam.example"):
        raise Vetoed(instance.email)
