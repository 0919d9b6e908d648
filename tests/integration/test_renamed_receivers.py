"""A receiver that is renamed with every deployment, while events keep coming."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis

import edgy_bus as edgy
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.events import partitions_of
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from tests.support import eventually

RENAMES = 50
WORKING = WorkerSettings(lease=1.0, block=0.2, backoff=0.1, grace=5.0, receiver_retention=1.0)
RELAYING = RelaySettings(poll=0.2, lease=1.0, trim_every=0.3, keep=0, backoff=0.1)


class Accounts:
    """The service `accounts`, which creates users all the time."""

    def __init__(self, redis_url: str, database_url: str, prefix: str) -> None:
        self.database = edgy.Database(database_url)
        self.bus = edgy.Bus(
            redis_url,
            service="accounts",
            prefix=prefix,
            events=EventSettings(partitions=2),
            relaying=RELAYING,
        )
        self.registry = edgy.Registry(self.database, bus=self.bus)
        own = self.registry

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = own

        self.User: Any = User
        self.created = 0
        self.stopping = asyncio.Event()

    async def create(self) -> None:
        while not self.stopping.is_set():
            self.created += 1
            await self.User.query.create(id=self.created)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def program(redis_url: str, prefix: str, number: int, heard: set[int]) -> AsyncIterator[None]:
    """Run a program whose receiver has a new name."""
    bus = edgy.Bus(redis_url, service="mails", prefix=prefix, relay=False, working=WORKING)

    @bus.receiver("accounts.User", "post_save", name=f"app.receive_{number}")
    async def receive(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.add(instance.id)

    async with bus, bus.worker():
        yield


async def test_fifty_renames_under_load_leave_streams_and_groups_bounded(
    redis_url: str, sqlite_url: str, prefix: str, redis_client: Redis
) -> None:
    accounts, heard = Accounts(redis_url, sqlite_url, prefix), set[int]()
    keys = RedisBroker(redis_url, prefix).keys
    streams = [keys.events(each) for each in partitions_of("accounts.User", 2)]

    async def are_short() -> bool:
        return max([await redis_client.xlen(stream) for stream in streams]) <= 10

    async with accounts.database, accounts.bus:
        await accounts.registry.create_all()
        creating = asyncio.create_task(accounts.create())
        for number in range(RENAMES):
            newer = accounts.created + 1
            async with program(redis_url, prefix, number, heard):
                await eventually(lambda newer=newer: max(heard, default=0) >= newer)
        async with program(redis_url, prefix, RENAMES, heard):
            # While events keep coming: the receivers of before hold no trimming up.
            await eventually(are_short)
            accounts.stopping.set()
            await creating
            await eventually(lambda: heard == set(range(1, accounts.created + 1)))
            await eventually(are_short)
        groups = [await redis_client.xinfo_groups(stream) for stream in streams]
    assert [[group["name"] for group in of_stream] for of_stream in groups] == [[b"mails"]] * 2
