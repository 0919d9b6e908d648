"""Operations on a real Redis: looking changes nothing, and an outage is reported as such."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.operations import forget, group_names, held, release
from edgy_bus.operations.parts import Parts
from tests.support import hold


@pytest.fixture
async def broker(redis_url: str, prefix: str) -> AsyncIterator[RedisBroker]:
    broker = RedisBroker(redis_url, prefix)
    yield broker
    await broker.close()


async def content(client: Redis, prefix: str) -> dict[bytes, tuple[bytes | None, bool]]:
    """Every key below a prefix, with its value as the server keeps it and whether it expires."""
    keys = [key async for key in client.scan_iter(match=f"{prefix}:*")]
    return {key: (await client.dump(key), await client.pttl(key) > 0) for key in keys}


async def test_looking_changes_nothing(
    broker: RedisBroker, redis_client: Redis, prefix: str
) -> None:
    await broker.declare("accounts.Team", 2)
    await hold(broker, "1")
    await hold(broker, "2", partition=Partition("accounts.User", "0"), group="audit")
    await broker.join("mail", "host-1", 60, b"report")
    before = await content(redis_client, prefix)
    assert len((await held(broker, "mail")).rows) == 1
    assert (await held(broker, "nobody")).rows == ()
    assert await group_names(broker) == ("audit", "mail")
    assert list((await broker.members("mail")).alive) == ["host-1"]
    assert (await broker.members("nobody")).alive == []
    with pytest.raises(Exception, match="workers that are alive"):
        await forget(Parts(broker, "accounts"), "mail")
    assert await content(redis_client, prefix) == before


async def test_releasing_changes_the_held_row_and_the_log_alone(
    broker: RedisBroker, redis_client: Redis, prefix: str
) -> None:
    await hold(broker, "1")
    await hold(broker, "2")
    before = await content(redis_client, prefix)
    view = (await held(broker, "mail")).select(subject="1")
    assert (await release(broker, view.rows)).rows == view.rows
    after = await content(redis_client, prefix)
    assert {key for key in after if after[key] != before.get(key)} == {
        f"{prefix}:{{accounts.User:0}}:held:mail".encode(),
        f"{prefix}:actions".encode(),
    }


async def test_an_outage_is_an_error_of_its_own(prefix: str) -> None:
    broker: Any = RedisBroker("redis://127.0.0.1:1", prefix)
    for operation in (held(broker, "mail"), group_names(broker)):
        with pytest.raises(BrokerUnavailable):
            await operation
    await broker.close()
