"""The service `search`: keeps an index in step with the users, so that order matters to it."""

from typing import Any

from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.demo.place import Place

place = Place.from_environment()
database = edgy.Database(place.search)
registry = edgy.Registry(database=database)
bus = edgy.Bus(place.broker, service="search", prefix=place.prefix, working=place.working)


class Entry(edgy.Model):
    user_id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.CharField(max_length=254)

    class Meta:
        registry = registry
        tablename = "entries"


class Step(edgy.Model):
    """A change of the index, in the order in which it was made."""

    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField()
    version: int = edgy.IntegerField()

    class Meta:
        registry = registry


class UserRow(BaseModel):
    """What this service reads of a user."""

    id: int
    name: str
    email: str
    version: int


@bus.receiver("accounts.User", "post_save", schema=UserRow, inbox=database)
@bus.receiver("accounts.User", "post_update", schema=UserRow, inbox=database)
@bus.receiver("accounts.User", "post_delete", schema=UserRow, inbox=database)
async def index(sender: str, instance: UserRow, event: edgy.Event, **kwargs: Any) -> None:
    """One receiver for all three, so that they reach it in the order in which the user changed."""
    deleted = event.signal == "post_delete"
    await (_remove if deleted else _put)(instance)
    await Step.query.create(user_id=instance.id, version=instance.version + deleted)


async def _put(user: UserRow) -> None:
    known = await Entry.query.get_or_none(user_id=user.id)
    if known is None:
        await Entry.query.create(user_id=user.id, name=user.name, email=user.email)
    else:
        await known.update(name=user.name, email=user.email)


async def _remove(user: UserRow) -> None:
    await Entry.query.filter(user_id=user.id).delete()
