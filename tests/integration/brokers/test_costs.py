"""What scripts cost the server does not grow with what lies in the keys: a script reads pages."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import START, DeadLetter, LetterLimits
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.testing.conformance.steps import PARTITION, acquire, append, pass_on
from edgy_bus.testing.servers import Server, Source, find_redis

EVENTS = 1200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start a Redis for these tests alone: other programs would count in its statistics."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def broker(server: Server, admin: Redis) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(server.url)
    yield broker
    await broker.close()


async def test_the_consumers_of_a_thousand_former_owners_are_removed_page_by_page(
    broker: RedisBroker, admin: Redis
) -> None:
    await append(broker, *map(str, range(EVENTS)))
    lease = await acquire(broker, "w")
    key = broker.keys.events(PARTITION)
    await admin.xgroup_create(key, "mail", "0")
    for number in range(1000):
        await admin.xreadgroup("mail", f"dead {number}", {key: ">"}, count=1)
    await admin.config_resetstat()
    after, inherited = START, True
    while inherited:
        before = await calls(admin, "xgroup|delconsumer")
        fetched = await broker.fetch(lease, 500, inherit=True, after=after)
        inherited, after = fetched.inherited, fetched.position
        assert await calls(admin, "xgroup|delconsumer") - before <= 200
    assert [row["name"].decode() for row in await admin.xinfo_consumers(key, "mail")] == [
        lease.holder
    ]


async def calls(admin: Redis, command: str) -> int:
    """Return how often the server has run a command, scripts included."""
    statistics = await admin.info("commandstats")
    return int(statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def test_every_page_of_inherited_entries_costs_the_same(
    broker: RedisBroker, admin: Redis
) -> None:
    await append(broker, *map(str, range(EVENTS)))
    old = await acquire(broker, "w1")
    while (await broker.fetch(old, 500, inherit=False)).entries:
        pass
    new = await pass_on(broker, old)
    await admin.config_resetstat()
    after, sizes, looks = START, [], []
    while True:
        before = await calls(admin, "xpending")
        fetched = await broker.fetch(new, 500, inherit=True, after=after)
        looks.append(await calls(admin, "xpending") - before)
        if not fetched.inherited:
            break
        sizes.append(len(fetched.entries))
        after = fetched.position
    assert sizes == [120] * 10
    # The summary, one page, and a look whether the former owner has anything left.
    assert looks == [3] * 10 + [2]


async def test_a_burial_looks_at_a_few_large_letters_alone(
    broker: RedisBroker, admin: Redis
) -> None:
    await append(broker, *map(str, range(12)))
    lease = await acquire(broker, "w")
    entries = (await broker.fetch(lease, 100, inherit=False)).entries
    letters = [
        DeadLetter(entry.id, "r", "no", 1, {**entry.fields, b"data": b"x" * 300_000})
        for entry in entries
    ]
    for letter in letters[:10]:
        await broker.bury(lease, letter)
    newest = (await broker.letters(PARTITION, "mail")).letters[-1].id.ms / 1000
    await asyncio.sleep(newest - (await broker.facts()).now + 0.02)
    await admin.config_resetstat()
    limits = LetterLimits(seconds=0.01)
    # A look ends behind the letter that makes it a million bytes.
    assert await broker.bury(lease, letters[10], (), limits) == 4
    assert await calls(admin, "xrange") == 4
    # By number, letters go without a look.
    assert await broker.bury(lease, letters[11], (), LetterLimits(most=1)) == 7
    assert await calls(admin, "xrange") == 4
