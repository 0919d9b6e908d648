"""A wall clock that steps neither delays nor repeats a call."""

import time
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.retrying import Retry
from tests.support import event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

HOUR = 3_600.0


class Clock:
    """The wall clock of a host, which somebody sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.step = 0.0
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + self.step)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class FailsOnce:
    def __init__(self) -> None:
        self.calls: list[float] = []

    async def __call__(self, sender: Any, **kwargs: Any) -> None:
        self.calls.append(time.monotonic())
        if len(self.calls) == 1:
            raise LookupError("not yet")


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_a_step_during_the_wait_changes_nothing(clock: Clock, step: float) -> None:
    receiver = FailsOnce()
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    retry = Retry(attempts=3, delay=0.2, factor=1, jitter=0)
    group = Group(broker, subscribe(receiver, retry=retry))
    tenure = await group.begin()
    await eventually(lambda: receiver.calls)
    clock.step = step
    await eventually(lambda: group.stats.handled == 1)
    await group.end(tenure)
    assert len(receiver.calls) == 2
    assert receiver.calls[1] - receiver.calls[0] >= 0.19


@pytest.mark.parametrize("step", [-HOUR, 0.0, HOUR])
async def test_the_next_owner_waits_no_longer_than_was_decided(clock: Clock, step: float) -> None:
    receiver = FailsOnce()
    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    retry = Retry(attempts=3, delay=0.3, factor=1, jitter=0)
    group = Group(broker, subscribe(receiver, retry=retry))
    tenure = await group.begin("first")
    await eventually(lambda: group.stats.retries == 1)
    await group.end(tenure)
    clock.step = step
    tenure = await group.begin("second")
    await eventually(lambda: group.stats.handled == 1)
    await group.end(tenure)
    assert len(receiver.calls) == 2
    if step == 0:
        assert receiver.calls[1] - receiver.calls[0] >= 0.29
