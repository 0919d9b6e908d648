"""A receiver that swallows its cancellation is reported by name, and nobody waits for it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.runtime import not_ending
from edgy_bus.runtime import tenure as tenure_module
from edgy_bus.runtime.executor import execute
from edgy_bus.runtime.outcome import Failed
from tests.support import PARTITION, Told, event, eventually, publish
from tests.unit.runtime.support import Group, envelope, subscribe


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(not_ending, "PATIENCE", 0.05)
    monkeypatch.setattr(tenure_module, "LAST_WORDS", 0.2)


class Stubborn:
    """A receiver that goes on until `end` is set."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.begun = asyncio.Event()

    async def __call__(self, sender: Any, **kwargs: Any) -> None:
        self.begun.set()
        while not self.end.is_set():
            with suppress(asyncio.CancelledError):
                await self.end.wait()


async def test_a_call_that_goes_on_after_its_deadline_is_reported_with_its_line() -> None:
    receiver = Stubborn()
    with Told() as told:
        call = asyncio.create_task(execute(subscribe(receiver), envelope(), 0.01))
        await eventually(lambda: told.of("receiver.not_ending"))
        receiver.end.set()
        await call
    (report,) = told.of("receiver.not_ending")
    assert (report["group"], report["receiver"]) == ("mail", "r")
    assert "test_not_ending.py:" in report["stands_at"]
    assert "in __call__" in report["stands_at"]


async def test_a_call_that_cleans_up_in_time_is_not_reported() -> None:
    async def clean(sender: Any, **kwargs: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.001)

    with Told() as told:
        outcome = await execute(subscribe(clean), envelope(), 0.01)
        await asyncio.sleep(0.1)
    assert outcome == Failed("took longer than its deadline of 0.01 s")
    assert not told.of("receiver.not_ending")


async def test_a_tenure_ends_without_a_call_that_does_not_end() -> None:
    receiver = Stubborn()
    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2))
    group = Group(broker, subscribe(receiver), grace=0.01)
    with Told() as told:
        tenure = await group.begin()
        await receiver.begun.wait()
        tenure.finish(0.01)
        await asyncio.wait_for(tenure.wait(), 5)
        assert tenure.left_calls == 2
        assert told.of("tenure.calls_left")[0]["count"] == 2
        assert len(told.of("receiver.not_ending")) == 2
        receiver.end.set()
        await asyncio.sleep(0.01)
    # What the call did after the end of its tenure is nobody's: the next owner repeats it.
    assert not told.of("tenure.failed")
    assert sum(one.unfinished for one in await broker.backlog(PARTITION)) == 2


async def test_a_tenure_that_lost_its_lease_ends_too() -> None:
    receiver = Stubborn()
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receiver))
    tenure = await group.begin(lasts=0.05)
    await receiver.begun.wait()
    await asyncio.wait_for(tenure.wait(), 5)
    assert tenure.lost
    assert tenure.left_calls == 1
    receiver.end.set()
