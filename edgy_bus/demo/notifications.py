"""The service `notifications`: queues a mail for everything that happens to a user. It has no User class."""

import random
from typing import Any

from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.demo.place import Place

place = Place.from_environment()
database = edgy.Database(place.notifications)
registry = edgy.Registry(database=database)
bus = edgy.Bus(place.broker, service="notifications", prefix=place.prefix, working=place.working)


class Mail(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField()
    version: int = edgy.IntegerField()
    text: str = edgy.CharField(max_length=200)

    class Meta:
        registry = registry


class UserRow(BaseModel):
    """What this service reads of a user."""

    id: int
    name: str
    version: int


PATIENT = edgy.Retry(attempts=20, delay=0.05, factor=1.5)


@bus.receiver("accounts.User", "post_save", schema=UserRow, inbox=database, retry=PATIENT)
@bus.receiver("accounts.User", "post_update", schema=UserRow, inbox=database, retry=PATIENT)
@bus.receiver("accounts.User", "post_delete", schema=UserRow, inbox=database, retry=PATIENT)
async def queue_mail(sender: str, instance: UserRow, event: edgy.Event, **kwargs: Any) -> None:
    """In one transaction with the inbox: however often the event is delivered, there is one mail."""
    version = instance.version + (event.signal == "post_delete")
    await Mail.query.create(
        user_id=instance.id, version=version, text=f"{event.signal}: {instance.name}"
    )
    if random.random() < 0.01:
        raise ConnectionError("the mail server hung up")
