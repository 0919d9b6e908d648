"""Leases on Redis: a key that expires, and the last tenure."""

import secrets
from collections.abc import Sequence

from edgy_bus.brokers.base import Lease, Leasing
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import milliseconds, text_of
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition


class RedisLeasing(RedisCore, Leasing):
    """Take, renew and give back leases, one script per step."""

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        keys = (
            self.keys.lease(partition, role),
            self.keys.fence(partition, role),
            self.keys.epoch(partition),
            self.keys.last_holder(partition, role),
        )
        # A worker may come before the first relay. The stream has no epoch yet, and the lease
        # needs an epoch with which the lease ends.
        arguments = (owner, milliseconds(ttl), secrets.token_hex(8))
        answer = await self._scripts.call("acquire", keys, arguments)
        if answer.refusal:
            return None
        token, epoch, former = (answer[name] for name in (b"token", b"epoch", b"former"))
        return Lease(partition, role, owner, int(token), epoch.decode(), text_of(former))

    async def renew(self, lease: Lease, ttl: float) -> bool:
        arguments = (lease.holder, milliseconds(ttl))
        answer = await self._scripts.call("renew", self._lease_keys(lease), arguments)
        return answer.refusal is None

    async def renew_all(
        self, leases: Sequence[Lease], ttl: float
    ) -> Sequence[bool | BaseException]:
        # One conversation for all leases: a round trip for each of hundreds of leases could take
        # longer than a lease lasts.
        calls = [(self._lease_keys(lease), (lease.holder, milliseconds(ttl))) for lease in leases]
        answers = await self._scripts.call_each("renew", calls)
        return [
            answer if isinstance(answer, BrokerError) else answer.refusal is None
            for answer in answers
        ]

    async def is_held(self, partition: Partition, role: str) -> bool:
        return bool(await self._ask("EXISTS", self.keys.lease(partition, role)))

    async def release(self, lease: Lease) -> None:
        await self._scripts.call("release", self._lease_keys(lease), (lease.holder,))

    def _lease_keys(self, lease: Lease) -> tuple[Key]:
        return (self.keys.lease(lease.partition, lease.role),)
