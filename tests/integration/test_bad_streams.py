"""One stream of a real Redis cannot be used: the others are published, trimmed and pruned."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.database import Database
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.store import OutboxStore
from tests.support import PARTITION, Told, eventually
from tests.unit.outbox.support import OTHER, count_pending, read_all, relay_of, write


@dataclass
class Place:
    """An outbox, the broker of its relay, and a client that breaks and mends one stream."""

    store: OutboxStore
    broker: RedisBroker
    client: Redis
    user: str

    @property
    def events(self) -> str:
        return self.broker.keys.events(PARTITION)

    @property
    def epoch(self) -> str:
        return self.broker.keys.epoch(PARTITION)

    def relay(self) -> Relay:
        return relay_of(self.store, self.broker, trim_every=0.1, retention=0.5, backoff=0.2)

    async def length(self) -> int:
        return int(await self.client.xlen(self.broker.keys.events(OTHER)))


@pytest.fixture
async def place(
    database: Database, redis_url: str, redis_client: Redis, prefix: str
) -> AsyncIterator[Place]:
    """A user of Redis of its own, because one way to break a stream is to forbid its keys."""
    user, password = f"u-{secrets.token_hex(4)}", secrets.token_hex(8)
    await redis_client.acl_setuser(
        user, enabled=True, passwords=[f"+{password}"], commands=["+@all"], keys=["*"]
    )
    url = urlsplit(redis_url)
    address = url.netloc.rpartition("@")[2]
    store = OutboxStore(database, "accounts")
    await store.prepare()
    broker = RedisBroker(url._replace(netloc=f"{user}:{password}@{address}").geturl(), prefix)
    yield Place(store, broker, redis_client, user)
    await broker.close()
    await redis_client.acl_deluser(user)


async def stream_of_another_type(place: Place) -> None:
    await place.client.delete(place.events)
    await place.client.set(place.events, "x")


async def epoch_of_another_type(place: Place) -> None:
    await place.client.delete(place.epoch)
    await place.client.hset(place.epoch, "x", "y")


async def forbidden_by_an_acl(place: Place) -> None:
    prefix = place.broker.keys.prefix
    allowed = [f"{prefix}:{part}" for part in ("models", "protocol", "{relay*", f"{{{OTHER}}}*")]
    await place.client.acl_setuser(place.user, enabled=True, reset_keys=True, keys=allowed)


async def number_that_no_database_stores(place: Place) -> None:
    forged = {"id": "forged", "head": "{}", "data": "{}"}
    await place.client.xadd(place.events, forged, id=f"{2**64 - 1}-1")


async def mend(place: Place) -> None:
    await place.client.acl_setuser(place.user, enabled=True, reset_keys=True, keys=["*"])
    await place.client.delete(place.events, place.epoch)


@pytest.mark.parametrize(
    "breaks",
    [forbidden_by_an_acl, number_that_no_database_stores],
    ids=lambda breaks: breaks.__name__,
)
async def test_one_bad_stream_holds_up_itself_alone(place: Place, breaks: object) -> None:
    assert callable(breaks)
    await write(place.store, 3)
    await write(place.store, 3, OTHER)
    async with place.relay() as relay:
        await eventually(lambda: relay.published == 6)
        await breaks(place)
        with Told() as told:
            await write(place.store, 5)
            await write(place.store, 5, OTHER)
            await eventually(lambda: others_are_published(place, 8))
            await eventually(lambda: told.of("stream.failed"))
            await read_all(place.broker, "mail", OTHER)
            await eventually(lambda: others_are_published(place, 1), "trimming")
    async with place.relay():  # another start
        with Told() as later:
            await write(place.store, 5, OTHER)
            # Five, once the entry before them is trimmed.
            await eventually(lambda: others_are_published(place, 5, 6))
            await eventually(lambda: later.of("stream.failed"))
            await mend(place)
            await eventually(lambda: all_is_published(place), "what waited for the stream")
            await eventually(lambda: later.of("stream.recovered"))
    for notices in (told, later):
        failed = notices.of("stream.failed")
        assert {notice["partition"] for notice in failed} == {str(PARTITION)}
        works = [notice["work"] for notice in failed]
        assert len(works) == len(set(works)), f"each is reported once: {failed}"
        assert not notices.of("relay.failed")


@pytest.mark.parametrize(
    "breaks",
    [stream_of_another_type, epoch_of_another_type],
    ids=lambda breaks: breaks.__name__,
)
async def test_a_key_of_another_type_is_moved_away_and_the_stream_goes_on(
    place: Place, breaks: Callable[[Place], Awaitable[None]]
) -> None:
    await write(place.store, 3)
    with Told() as told:
        async with place.relay() as relay:
            await eventually(lambda: relay.published == 3)
            await breaks(place)
            await write(place.store, 5)
            await eventually(lambda: all_is_published(place))
            await eventually(lambda: place.client.exists(place.events))
    assert len(told.of("broker.foreign_key")) == 1
    assert not told.of("stream.failed")
    assert await place.client.type(place.events) == b"stream"


async def others_are_published(place: Place, *lengths: int) -> bool:
    return await place.length() in lengths


async def all_is_published(place: Place) -> bool:
    return await count_pending(place.store) == 0
