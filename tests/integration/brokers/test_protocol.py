"""Check the protocol version in Redis.

Older releases do not read the key, and no value of the key breaks a worker or a relay.
"""

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import Protocol
from edgy_bus.brokers.protocol import PROTOCOL, Agreement
from edgy_bus.brokers.redis import RedisBroker


async def test_the_protocol_is_no_field_of_the_models(
    redis_url: str, redis_client: Redis, prefix: str
) -> None:
    broker = RedisBroker(redis_url, prefix)
    await Agreement(broker).renew()
    stored = await redis_client.get(f"{prefix}:protocol")
    assert stored == f"{PROTOCOL.version} {PROTOCOL.oldest}".encode()
    assert await redis_client.keys(f"{prefix}:models") == []
    await broker.close()


@pytest.mark.parametrize("text", ["", "x", "9", "9 9 9", "-1 -1", None])
async def test_what_somebody_wrote_there_stops_nothing(
    redis_url: str, redis_client: Redis, prefix: str, text: str | None
) -> None:
    key = f"{prefix}:protocol"
    await (redis_client.rpush(key, "x") if text is None else redis_client.set(key, text))
    broker = RedisBroker(redis_url, prefix)
    assert await broker.keep_protocol(Protocol(2, 1)) == Protocol(2, 1)
    assert await broker.keep_protocol(Protocol(1, 1)) == Protocol(2, 1)
    await broker.close()
