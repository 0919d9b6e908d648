"""Run the service `notifications`: queue a mail for every change of a user.

The service has no `User` class; it reads the fields that it needs through a schema.
"""

import random

from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.demo.config import DemoConfig

config = DemoConfig.from_environment()
database = edgy.Database(config.notifications)
registry = edgy.Registry(database=database)
bus = edgy.Bus(config.broker, service="notifications", prefix=config.prefix, working=config.working)


class Mail(edgy.Model):
    """A queued mail, with the user's version that caused the mail."""

    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField()
    version: int = edgy.IntegerField()
    text: str = edgy.CharField(max_length=200)

    class Meta:
        registry = registry


class UserRow(BaseModel):
    """The fields of a user that this service reads."""

    id: int
    name: str
    version: int


# Many quick attempts: one call in a hundred fails below, and no event may reach the dead letters.
PATIENT = edgy.Retry(attempts=20, delay=0.05, factor=1.5)


@bus.receiver("accounts.User", "post_save", schema=UserRow, inbox=database, retry=PATIENT)
@bus.receiver("accounts.User", "post_update", schema=UserRow, inbox=database, retry=PATIENT)
@bus.receiver("accounts.User", "post_delete", schema=UserRow, inbox=database, retry=PATIENT)
async def queue_mail(sender: str, instance: UserRow, event: edgy.Event, **kwargs: object) -> None:
    """Queue a mail in the inbox's transaction: one mail, however often the event is delivered."""
    # A deleted row arrives with its last values, so the deletion's version is one higher.
    version = instance.version + (event.signal == "post_delete")
    await Mail.query.create(
        user_id=instance.id, version=version, text=f"{event.signal}: {instance.name}"
    )
    # Fails after the write on purpose: without the inbox, the next attempt would queue a second
    # mail, and the account would show a duplicate.
    if random.random() < 0.01:
        raise ConnectionError("the mail server hung up")
