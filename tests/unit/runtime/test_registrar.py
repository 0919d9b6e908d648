"""The groups of a process register together, and ask the broker no more than one group does."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from edgy_bus.brokers.base import Members, Presence
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.registrar import Registrar
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.worker import Worker
from edgy_bus.settings import WorkerSettings
from tests.support import eventually
from tests.unit.runtime.support import SETTINGS, subscribe

GROUPS = ("mail", "search", "stock")


class Asked(MemoryBroker):
    """A broker that remembers its conversations."""

    def __init__(self) -> None:
        super().__init__()
        self.conversations: list[list[str]] = []
        self.reads = 0
        self.failing: str | None = None
        self.is_away = False

    async def join_all(
        self, presences: Sequence[Presence], ttl: float
    ) -> Sequence[Members | BaseException]:
        self.conversations.append([each.group for each in presences])
        if self.is_away:
            raise BrokerUnavailable("away")
        answers = await super().join_all(presences, ttl)
        return [
            RuntimeError("a mistake") if each.group == self.failing else answer
            for each, answer in zip(presences, answers, strict=True)
        ]

    async def declared(self) -> Mapping[str, int]:
        self.reads += 1
        if self.is_away:
            raise BrokerUnavailable("away")
        await asyncio.sleep(0.01)
        return {"shop.Order": 8}


@pytest.fixture
def broker() -> Asked:
    return Asked()


@pytest.fixture
def registrar(broker: Asked) -> Registrar:
    return Registrar(broker, SETTINGS, len(GROUPS))


def presence(group: str) -> Presence:
    return Presence(group, f"w-{group}", b"")


async def test_groups_that_come_together_are_in_one_conversation(
    broker: Asked, registrar: Registrar
) -> None:
    for _ in range(2):
        answers = await asyncio.gather(*(registrar.join(presence(each)) for each in GROUPS))
        assert [answer.alive for answer in answers] == [[f"w-{group}"] for group in GROUPS]
    assert broker.conversations == [list(GROUPS)] * 2


async def test_an_error_of_one_group_concerns_this_group_alone(
    broker: Asked, registrar: Registrar
) -> None:
    broker.failing = "search"
    joining = (registrar.join(presence(each)) for each in GROUPS)
    mail, search, stock = await asyncio.gather(*joining, return_exceptions=True)
    assert isinstance(search, RuntimeError)
    assert isinstance(mail, Members)
    assert isinstance(stock, Members)


async def test_an_outage_reaches_every_group_and_ends(broker: Asked, registrar: Registrar) -> None:
    broker.is_away = True
    joining = (registrar.join(presence(each)) for each in GROUPS)
    answers = await asyncio.gather(*joining, registrar.declared(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [BrokerUnavailable] * 4
    broker.is_away = False
    assert (await registrar.join(presence("mail"))).alive == ["w-mail"]
    assert await registrar.declared() == {"shop.Order": 8}, "an error is not remembered"


async def test_a_group_that_is_cancelled_keeps_no_other_from_registering(
    broker: Asked, registrar: Registrar
) -> None:
    joining = [asyncio.create_task(registrar.join(presence(each))) for each in GROUPS]
    await asyncio.sleep(0)
    joining[0].cancel()
    answers = await asyncio.gather(*joining, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [type(answer) for answer in answers[1:]] == [Members, Members]


async def test_numbers_of_partitions_are_read_once_for_all_groups(
    broker: Asked, registrar: Registrar
) -> None:
    for _ in range(3):
        answers = await asyncio.gather(*(registrar.declared() for _ in GROUPS))
        assert answers == [{"shop.Order": 8}] * 3
    assert broker.reads == 1


async def test_rounds_are_due_at_the_same_moments_for_all(registrar: Registrar) -> None:
    every = SETTINGS.lease / 4
    first = 100.0 + registrar.rest(100.0)
    for moment in (100.0, (100.0 + first) / 2):
        assert moment + registrar.rest(moment) == pytest.approx(first)
    assert registrar.rest(first + every / 100) == pytest.approx(every * 0.99)
    # A timer may be early by a rounding error: the round of this moment must not come twice.
    assert registrar.rest(first - 1e-9) == pytest.approx(every)


async def test_a_worker_asks_no_more_often_for_many_groups_than_for_one() -> None:
    broker = Asked()

    async def nothing(sender: object, instance: object, **kwargs: object) -> None:
        pass

    subscription = subscribe(nothing)
    groups = [Subscriptions(name, [replace(subscription, group=name)]) for name in GROUPS]
    async with Worker(broker, groups, WorkerSettings(lease=0.4, block=0.05)) as worker:
        await eventually(lambda: worker.ready)
        broker.conversations.clear()
        await asyncio.sleep(1.0)
    together = [groups for groups in broker.conversations if len(groups) == len(GROUPS)]
    # Ten rounds of each group. A round that was late may have come alone.
    assert len(broker.conversations) <= 15
    assert len(together) >= 5
