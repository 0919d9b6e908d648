"""The broker on Redis Streams: all roles together."""

from typing import ClassVar

from edgy_bus import telemetry
from edgy_bus.brokers.base import Broker, Capabilities
from edgy_bus.brokers.redis.action_log import RedisActionLog
from edgy_bus.brokers.redis.administration import RedisAdministration
from edgy_bus.brokers.redis.consuming import RedisConsuming
from edgy_bus.brokers.redis.dead_letters import RedisDeadLetters
from edgy_bus.brokers.redis.encoding import text_of
from edgy_bus.brokers.redis.leasing import RedisLeasing
from edgy_bus.brokers.redis.publishing import RedisPublishing
from edgy_bus.brokers.redis.relays import RedisRelays
from edgy_bus.brokers.redis.rostering import RedisRostering
from edgy_bus.brokers.redis.scripts import pairs
from edgy_bus.brokers.redis.setting_aside import RedisSettingAside
from edgy_bus.brokers.redis.side_streams import RedisSideStreams
from edgy_bus.brokers.redis.surveying import RedisSurveying
from edgy_bus.brokers.redis.tallying import RedisTallying
from edgy_bus.errors import BrokerError, BrokerUnavailable, UnsupportedBroker
from edgy_bus.telemetry import catalogue

_PROBES = 64
"""Keys that show whether one node has all slots of a cluster: 64 keys are never in one half."""

_POLICY = b"maxmemory-policy"


class RedisBroker(
    RedisPublishing,
    RedisLeasing,
    RedisConsuming,
    RedisSideStreams,
    RedisDeadLetters,
    RedisSurveying,
    RedisAdministration,
    RedisRostering,
    RedisSettingAside,
    RedisActionLog,
    RedisRelays,
    RedisTallying,
    Broker,
):
    """Use Redis 6.2 or newer, or Valkey. Every atomic step is one Lua script of `lua/`.

    The broker is as durable as the server's configuration.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        durable=True, shared_between_processes=True, serves_many_loops=True, bounded=True
    )

    async def connect(self) -> None:
        await self._scripts.ask([("PING",)])
        await self._refuse_clusters()
        await self._check_policy()

    async def close(self) -> None:
        await self._connections.close()

    async def _refuse_clusters(self) -> None:
        """Raise `UnsupportedBroker` for a node of a cluster that does not have all keys."""
        probes = [f"{self.keys.prefix}:probe:{number}" for number in range(_PROBES)]
        try:
            await self._scripts.ask([("EXISTS", *probes[:2])])
        except UnsupportedBroker:
            # In cluster mode. A single node that has every slot can do all but one thing, which
            # the bell reports.
            await self._scripts.ask([("EXISTS", probe) for probe in probes])
        except BrokerUnavailable:
            raise
        except BrokerError:
            return  # A user without this right meets the cluster in the first script.

    async def _check_policy(self) -> None:
        """Report a server that evicts keys when it is full, or does not say whether it does."""
        policy = None
        try:
            (reply,) = await self._scripts.ask([("CONFIG", "GET", _POLICY)])
            policy = pairs(reply).get(_POLICY)
        except BrokerUnavailable:
            raise
        except BrokerError:
            pass  # Hosted servers forbid CONFIG GET.
        if policy is None:
            self._limits.report(
                "CONFIG GET", "whether the server evicts keys is unknown: set noeviction"
            )
        elif policy != b"noeviction":
            lost = "leases" if policy.startswith(b"volatile") else "streams, and events with them"
            telemetry.emit(catalogue.BrokerEvicts(policy=text_of(policy), lost=lost))
