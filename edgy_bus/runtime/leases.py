"""Renew the leases of a group's tenures."""

import asyncio
from collections.abc import Mapping

from edgy_bus.brokers.base import Broker
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.settings import WorkerSettings


class LeaseRenewal:
    """Renew the leases of all running tenures, in one conversation with the broker.

    This loop is no part of the consumer's rounds: while a round takes hundreds of partitions, the
    partitions that were taken first must be kept.

    Args:
        tenures: the tenures of a group, kept up to date by the consumer.
    """

    def __init__(
        self, broker: Broker, settings: WorkerSettings, tenures: Mapping[Partition, Tenure]
    ) -> None:
        self._broker = broker
        self._lease = settings.lease
        self._longest_pause = min(settings.lease / 4, settings.backoff, 1.0)
        self._tenures = tenures

    async def run(self) -> None:
        """Renew for ever; ends by a mistake only."""
        pause = self._lease / 4
        while True:
            await asyncio.sleep(pause)
            try:
                await self.renew()
                pause = self._lease / 4
            except BrokerError:
                # The consumer's rounds meet the same trouble and report it. A tenure whose lease
                # runs out ends by itself.
                pause = self._longest_pause

    async def renew(self) -> None:
        """Renew every lease once. Raises the first error when all answers are there."""
        # From before the request: the broker counts from the arrival of the request, so this
        # process never believes in a lease for longer than the broker does.
        requested = asyncio.get_running_loop().time()
        tenures = [tenure for tenure in self._tenures.values() if tenure.running]
        if not tenures:
            return
        leases = [tenure.lease for tenure in tenures]
        answers = await self._broker.renew_all(leases, self._lease)
        errors = []
        for tenure, answer in zip(tenures, answers, strict=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
            elif answer:
                tenure.extend(requested + self._lease)
            else:
                tenure.lose()
        if errors:
            raise errors[0]
