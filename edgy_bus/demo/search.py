"""Run the service `search`: keep an index equal to the users, which needs events in order."""

from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.demo.config import DemoConfig

config = DemoConfig.from_environment()
database = edgy.Database(config.search)
registry = edgy.Registry(database=database)
bus = edgy.Bus(config.broker, service="search", prefix=config.prefix, working=config.working)


class Entry(edgy.Model):
    """A user in the index."""

    user_id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.CharField(max_length=254)

    class Meta:
        registry = registry
        tablename = "entries"


class Step(edgy.Model):
    """A change of the index; the ids show the order of the changes."""

    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField()
    version: int = edgy.IntegerField()

    class Meta:
        registry = registry


class UserRow(BaseModel):
    """The fields of a user that this service reads."""

    id: int
    name: str
    email: str
    version: int


# One receiver for three signals: order is promised per row and receiver. Three receivers could
# run for the same user at the same time, and a deletion could overtake an update.
@bus.receiver("accounts.User", "post_save", schema=UserRow, inbox=database)
@bus.receiver("accounts.User", "post_update", schema=UserRow, inbox=database)
@bus.receiver("accounts.User", "post_delete", schema=UserRow, inbox=database)
async def index(sender: str, instance: UserRow, event: edgy.Event, **kwargs: object) -> None:
    """Apply a change of a user to the index, and record the step."""
    deleted = event.signal == "post_delete"
    await (_remove if deleted else _put)(instance)
    await Step.query.create(user_id=instance.id, version=instance.version + deleted)


async def _put(user: UserRow) -> None:
    entry = await Entry.query.get_or_none(user_id=user.id)
    if entry is None:
        await Entry.query.create(user_id=user.id, name=user.name, email=user.email)
    else:
        await entry.update(name=user.name, email=user.email)


async def _remove(user: UserRow) -> None:
    await Entry.query.filter(user_id=user.id).delete()
