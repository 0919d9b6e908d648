"""The broker on Redis Streams: all roles together."""

from typing import ClassVar

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Capabilities
from edgy_bus.brokers.redis.administration import RedisAdministration
from edgy_bus.brokers.redis.consuming import RedisConsuming
from edgy_bus.brokers.redis.leasing import RedisLeasing
from edgy_bus.brokers.redis.publishing import RedisPublishing
from edgy_bus.brokers.redis.side_streams import RedisSideStreams
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.telemetry import catalogue


class RedisBroker(
    RedisPublishing,
    RedisLeasing,
    RedisConsuming,
    RedisSideStreams,
    RedisAdministration,
    Broker,
):
    """Use Redis 6.2 or newer, or Valkey. Every atomic step is one Lua script of `lua/`.

    The broker is as durable as the server's configuration.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(durable=True, shared_between_processes=True)

    async def connect(self) -> None:
        async with self._conversations.turn():
            await self._client.ping()
        try:
            async with self._conversations.turn():
                config = await self._client.config_get("maxmemory-policy")
        except BrokerUnavailable:
            raise
        except BrokerError:
            return  # Hosted servers forbid CONFIG GET.
        # With any other policy, a full server evicts streams, and events disappear in silence.
        policy = config.get("maxmemory-policy", "noeviction")
        if not policy.startswith(("noeviction", "volatile")):
            telemetry.emit(catalogue.BrokerEvicts(policy=policy))

    async def close(self) -> None:
        await self._client.aclose()
