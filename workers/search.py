"""Run the service `search`: keep an index equal to the users, which needs events in order.

Run it with `edgy-bus worker workers.search:bus`, or as a program.
"""

import os
import sys
from typing import Any

import edgy_bus as edgy
from edgy_bus.cli import main

database = edgy.Database(os.environ["EDGY_BUS_DATABASE_URL"])
registry = edgy.Registry(database=database)
bus = edgy.Bus(os.environ["EDGY_BUS_REDIS_URL"], service="search")
bus.on_start(registry.create_all)


class SearchEntry(edgy.Model):
    """A user in the index."""

    id: int = edgy.BigIntegerField(primary_key=True)
    user_id: int = edgy.BigIntegerField(unique=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.CharField(max_length=254)

    class Meta:
        registry = registry
        tablename = "search_entries"


# A single receiver for three signals, because order is promised per row and receiver.
@bus.receiver("accounts.User", "post_save", inbox=database)
@bus.receiver("accounts.User", "post_update", inbox=database)
@bus.receiver("accounts.User", "post_delete", inbox=database)
async def index(sender: str, instance: Any, event: edgy.Event, **kwargs: object) -> None:
    """Apply a change of a user to the index."""
    await SearchEntry.query.filter(user_id=instance.id).delete()
    if event.signal != "post_delete":
        await SearchEntry.query.create(
            user_id=instance.id, name=instance.name, email=instance.email
        )


if __name__ == "__main__":
    main(["worker", "workers.search:bus", *sys.argv[1:]])
