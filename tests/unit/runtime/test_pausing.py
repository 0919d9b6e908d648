"""A paused group: running calls finish, no other begins, and nothing is lost or reordered."""

import asyncio
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.runtime import roster
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import SETTINGS, worker_on


async def test_running_calls_finish_and_the_rest_waits_for_the_end_of_the_pause() -> None:
    begun, ended = list[int](), list[int]()
    go_on = asyncio.Event()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.sequence)
        await go_on.wait()
        ended.append(event.sequence)

    broker = MemoryBroker()
    # One row: its second event begins when the first has ended.
    await publish(broker, event("1", 1), event("1", 2))
    with Told() as told:
        async with worker_on(broker, receiver) as worker:
            await eventually(lambda: begun == [1])
            await broker.pause("mail", None, "ana: the downstream is away")
            await eventually(lambda: told.of("group.paused"))
            await asyncio.sleep(SETTINGS.lease * 1.5)
            assert worker.consumers[0].partitions == [PARTITION], "while its call runs"
            go_on.set()
            await eventually(lambda: not worker.consumers[0].partitions)
            await publish(broker, event("2", 1))
            await asyncio.sleep(SETTINGS.lease)
            assert (begun, ended) == ([1], [1])
            await broker.resume("mail")
            await eventually(lambda: len(ended) == 3)
    assert begun == ended
    assert sorted(begun) == [1, 1, 2]
    assert [notice["note"] for notice in told.of("group.paused")] == ["ana: the downstream is away"]
    assert len(told.of("group.resumed")) == 1
    assert told.of("tenure.lost") == []


async def test_a_worker_that_starts_in_a_pause_waits_and_ends_at_once_when_stopped() -> None:
    begun = list[int]()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    await broker.pause("mail", None, "")
    async with worker_on(broker, receiver) as worker:
        await eventually(lambda: worker.consumers and worker.consumers[0].ready)
        await asyncio.sleep(0.3)
        await asyncio.wait_for(worker.stop(), 2)
    assert begun == []


async def test_receivers_are_listed_while_their_group_is_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    async def seen() -> float:
        (listed,) = (await broker.roster("mail")).receivers.values()
        return listed.seen

    monkeypatch.setattr(roster, "_EVERY", 0.0)
    broker = MemoryBroker()
    await broker.pause("mail", None, "for longer than the retention")
    async with worker_on(broker, receiver):
        await eventually(lambda: _has_receivers(broker))
        before = await seen()

        async def is_seen_again() -> bool:
            return await seen() > before

        await eventually(is_seen_again)


async def _has_receivers(broker: MemoryBroker) -> bool:
    return bool((await broker.roster("mail")).receivers)


async def test_a_pause_with_an_end_ends_by_itself() -> None:
    begun = list[int]()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    await broker.pause("mail", 0.5, "")
    async with worker_on(broker, receiver):
        await asyncio.sleep(0.2)
        assert begun == []
        await eventually(lambda: begun == [1])


async def test_other_groups_go_on() -> None:
    begun = list[int]()

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        begun.append(event.sequence)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    await broker.pause("search", None, "")
    async with worker_on(broker, receiver):
        await eventually(lambda: begun == [1])
