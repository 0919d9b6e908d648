"""The lease of the relay: one leader, and a standby that asks seldom."""

import asyncio

from edgy_bus.brokers.base import Lease
from edgy_bus.events import Partition
from edgy_bus.outbox.leading import Leader
from tests.support import eventually
from tests.unit.outbox.support import Away


class Counting(Away):
    def __init__(self) -> None:
        super().__init__()
        self.acquired = 0
        self.renewed = 0

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        self.acquired += 1
        return await super().acquire(partition, role, owner, ttl)

    async def renew(self, lease: Lease, ttl: float) -> bool:
        self.renewed += 1
        return await super().renew(lease, ttl)


async def test_one_leads_until_it_hands_the_lease_back() -> None:
    broker = Counting()
    first, second = Leader(broker, "accounts", 30.0), Leader(broker, "accounts", 30.0)
    assert await first.step()
    assert not await second.step()
    await first.hand_back()
    await first.hand_back()
    await eventually(second.step)
    assert (first.tenure, second.tenure) == (1, 1)


async def test_a_standby_does_not_ask_at_every_commit() -> None:
    broker = Counting()
    leader, standby = Leader(broker, "accounts", 30.0), Leader(broker, "accounts", 30.0)
    await leader.step()
    begun = asyncio.get_running_loop().time()
    for _ in range(300):
        assert not await standby.step()
        await asyncio.sleep(0.001)
    seconds = asyncio.get_running_loop().time() - begun
    assert broker.acquired <= 2 + seconds / 0.2


async def test_a_leader_renews_in_time_and_takes_a_lost_lease_again() -> None:
    broker = Counting()
    leader = Leader(broker, "accounts", 0.3)
    for _ in range(10):
        assert await leader.step()
        await asyncio.sleep(0.05)
    assert 2 <= broker.renewed <= 10
    assert leader.tenure == 1
    await broker.erase()
    await eventually(lambda: leads_again(leader))


async def leads_again(leader: Leader) -> bool:
    return await leader.step() and leader.tenure == 2
