"""The lease of the relay: one leader, and a standby that asks seldom."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from edgy_bus.brokers.base import Lease, RelayCard
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.outbox import leading
from edgy_bus.outbox.leading import Leader
from tests.support import Told, eventually
from tests.unit.outbox.support import Away


@dataclass
class Outbox:
    id: str
    service: str = "accounts"


OUTBOX = Outbox("one")


class Counting(Away):
    def __init__(self, *clock: Callable[[], float]) -> None:
        super().__init__(*clock)
        self.acquired = 0
        self.renewed = 0
        self.listed = 0
        self.refuses: BrokerError | None = None

    async def list_relay(self, card: RelayCard, ttl: float, age: float) -> None:
        self.listed += 1
        if self.refuses is not None:
            raise self.refuses
        await super().list_relay(card, ttl, age)

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        self.acquired += 1
        return await super().acquire(partition, role, owner, ttl)

    async def renew(self, lease: Lease, ttl: float) -> bool:
        self.renewed += 1
        return await super().renew(lease, ttl)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the event loop, for leaders alone."""
    now = [0.0]
    loop = SimpleNamespace(time=lambda: now[0])
    monkeypatch.setattr(leading, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
    return now


async def test_one_leads_until_it_hands_the_lease_back() -> None:
    broker = Counting()
    first, second = Leader(broker, OUTBOX, 30.0), Leader(broker, OUTBOX, 30.0)
    assert await first.step()
    assert not await second.step()
    await first.hand_back()
    await first.hand_back()
    await eventually(second.step)
    assert (first.tenure, second.tenure) == (1, 1)


async def test_the_outboxes_of_two_databases_are_led_side_by_side() -> None:
    broker = Counting()
    outboxes = [Outbox("one"), Outbox("two"), Outbox("one", "billing")]
    leaders = [Leader(broker, outbox, 30.0) for outbox in outboxes]
    with Told() as told:
        assert all([await leader.step() for leader in leaders])
    assert told.of("relay.leads") == [
        {"service": outbox.service, "outbox": outbox.id} for outbox in outboxes
    ]


def at_every_commit(clock: list[float], until: float) -> Iterator[None]:
    """Let a hundred commits wake the relays in each second of a clock."""
    while clock[0] < until:
        clock[0] += 0.01
        yield


async def test_a_standby_does_not_ask_at_every_commit(clock: list[float]) -> None:
    broker = Counting()
    leader = Leader(broker, OUTBOX, 10.0)
    standbys = [Leader(broker, OUTBOX, 10.0) for _ in range(6)]
    await leader.step()
    for _ in at_every_commit(clock, 9.0):
        assert not any([await standby.step() for standby in standbys])
    assert 50 < broker.acquired <= 70, "about once in a second"


async def test_a_lease_that_is_given_back_or_runs_out_has_another_holder_in_a_second(
    clock: list[float],
) -> None:
    broker = Counting(lambda: clock[0])
    leaders = [Leader(broker, OUTBOX, 10.0) for _ in range(3)]
    assert await leaders[0].step()
    assert not await leaders[1].step()
    await leaders[0].hand_back()
    for _ in at_every_commit(clock, 1.0):
        if await leaders[1].step():
            break
    assert leaders[1].tenure == 1
    # This one crashes: it is never heard of again.
    crashed = clock[0]
    for _ in at_every_commit(clock, crashed + 11.0):
        if await leaders[2].step():
            break
    assert leaders[2].tenure == 1


async def test_a_relay_rests_no_longer_than_until_its_next_request(clock: list[float]) -> None:
    broker = Counting()
    leader, standby = Leader(broker, OUTBOX, 9.0), Leader(broker, OUTBOX, 9.0)
    hurried = Leader(broker, OUTBOX, 0.3)
    assert leader.rest == 0.0
    await leader.step()
    await standby.step()
    await hurried.step()
    rests = [each.rest for each in (leader, standby, hurried)]
    assert rests == pytest.approx([3.0, 0.9, 0.1]), "a third of the lease, or less than a second"
    clock[0] += 2.0
    assert leader.rest == pytest.approx(1.0)
    assert standby.rest == 0.0


async def test_a_leader_renews_in_time_and_takes_a_lost_lease_again() -> None:
    broker = Counting()
    leader = Leader(broker, OUTBOX, 0.3)
    for _ in range(10):
        assert await leader.step()
        await asyncio.sleep(0.05)
    assert 2 <= broker.renewed <= 10
    assert leader.tenure == 1
    await broker.erase()
    await eventually(lambda: leads_again(leader))


async def leads_again(leader: Leader) -> bool:
    return await leader.step() and leader.tenure == 2


async def test_relays_are_listed_at_each_change_and_once_in_a_pace(clock: list[float]) -> None:
    broker = Counting(lambda: clock[0])
    first, second = Leader(broker, OUTBOX, 9.0), Leader(broker, OUTBOX, 9.0)
    await first.step()
    await second.step()
    assert broker.listed == 2
    leader, standby = await broker.relays()
    assert (leader.leads, standby.leads) == (True, False)
    card = leader.card
    assert (card.host, card.process) == (socket.gethostname(), os.getpid())
    assert (card.service, card.outbox) == ("accounts", "one")
    for _ in at_every_commit(clock, 8.9):
        await first.step()
        await second.step()
    assert broker.listed == 6, "twice more each: a standby asks more often than that"
    assert [each.since for each in await broker.relays()] == pytest.approx([0.0, 0.0], abs=0.001)
    handed_back = clock[0]
    await first.hand_back()
    for _ in at_every_commit(clock, handed_back + 1.0):
        await second.step()
    (only,) = await broker.relays()
    assert only.leads
    assert handed_back < only.since <= handed_back + 1.0


async def test_a_standby_that_ends_is_listed_no_more() -> None:
    broker = Counting()
    first, second = Leader(broker, OUTBOX, 30.0), Leader(broker, OUTBOX, 30.0)
    await first.step()
    await second.step()
    await second.hand_back()
    assert [each.leads for each in await broker.relays()] == [True]


@pytest.mark.parametrize("error", [BrokerError("no right"), BrokerUnavailable("away")])
async def test_a_relay_that_cannot_be_listed_works(clock: list[float], error: BrokerError) -> None:
    broker = Counting()
    broker.refuses = error
    leader = Leader(broker, OUTBOX, 9.0)
    with Told() as told:
        for _ in at_every_commit(clock, 8.0):
            assert await leader.step()
    assert broker.listed == 3
    # An outage is reported by the request for the lease.
    assert len(told.of("broker.limited")) == (not isinstance(error, BrokerUnavailable))
