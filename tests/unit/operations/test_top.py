"""The load of groups and receivers: states, rates, and the order."""

import asyncio
from typing import Any

import pytest

from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.operations import Parts, State, Top, TopView
from tests.support import PARTITION, event, publish

SIGNALS = ("accounts.User.post_save",)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def report(at: float, **calls: list[float]) -> bytes:
    return dumps({"protocol": 3, "receivers": list(calls), "at": at, "calls": calls})


async def enlist(broker: MemoryBroker, group: str, *names: str) -> None:
    await broker.enlist(group, [Enlisted(name, SIGNALS) for name in names], 1e9, begins=True)


async def step(
    top: Top, monkeypatch: pytest.MonkeyPatch, between: Any = None, began: float = 100.0
) -> TopView:
    """Make a step whose looks begin at `began` and 2 s later; do something between the looks."""

    async def pause(seconds: float) -> None:
        assert seconds == 1.0
        if between is not None:
            await between()

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", pause)
        loop = asyncio.get_running_loop()
        times = iter((began, began + 2.0))
        patched.setattr(loop, "time", lambda: next(times))
        return await top.step()


async def test_rates_are_taken_between_two_looks(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(broker, event("1", 1), event("1", 2))
    lease = await broker.acquire(PARTITION, "mail", "w.1795827799077", 60)
    assert lease is not None
    first, _ = (await broker.fetch(lease, 2, inherit=False)).entries
    await enlist(broker, "mail", "send", "index")
    await broker.join("mail", "w", 60, report(50.0, send=[10, 2, 0, 0], index=[0, 0, 0, 0]))

    async def work() -> None:
        await broker.settle(lease, [first.id])
        await publish(broker, *(event("1", number) for number in range(3, 7)))
        calls: dict[str, list[float]] = {"send": [40, 1, 1, 1795827800.0], "index": [6, 0, 0, 0]}
        await broker.join("mail", "w", 60, report(53.0, **calls))

    view = await step(Top(Parts(broker, "")), monkeypatch, work)
    (group,) = view.groups
    assert view.seconds == 2.0
    assert (group.name, group.state, group.lag, group.unfinished) == ("mail", "running", 5, 1)
    assert (group.arriving, group.finishing) == (2.0, 0.5)
    assert (group.workers, group.owners, group.waiting.count) == (1, 1, 1)
    send, index = group.receivers
    assert (send.name, send.handling, send.jobs, send.waiting.count) == ("send", 10.0, 1, 1)
    assert (index.name, index.handling, index.jobs, index.lag) == ("index", 2.0, 0, None)


async def test_the_next_step_compares_with_the_step_before(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(broker, event("1", 1))
    lease = await broker.acquire(PARTITION, "mail", "w.1", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    top = Top(Parts(broker, ""))
    (group,) = (await step(top, monkeypatch)).groups
    assert group.arriving == 0.0
    await publish(broker, event("1", 2))
    (group,) = (await step(top, monkeypatch, began=104.0)).groups
    assert group.arriving == 0.5


async def test_states_and_the_order_by_lag(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(broker, *(event("1", number) for number in range(1, 4)))
    for name, count in {"audit": 3, "idle": 3, "mail": 1, "search": 2}.items():
        lease = await broker.acquire(PARTITION, name, "w.1", 60)
        assert lease is not None
        entries = (await broker.fetch(lease, count, inherit=False)).entries
        if name in ("audit", "idle"):
            await broker.settle(lease, [each.id for each in entries])
    await enlist(broker, "search", "ok", "off", "broken", "gone")
    await broker.join("search", "w", 60, report(1.0, ok=[0] * 4, off=[0] * 4, broken=[0] * 4))
    await broker.join("audit", "w", 60, report(1.0))
    await broker.pause("audit", None, "ana")
    await broker.pause("search", None, "ana", receiver="off")
    await broker.trip("search", "broken", 60, 1, "away")
    view = await step(Top(Parts(broker, "")), monkeypatch)
    assert [(each.name, each.lag, each.state) for each in view.groups] == [
        ("mail", 3, State.NO_WORKER),
        ("search", 3, State.RUNNING),
        ("audit", 0, State.PAUSED),
        ("idle", 0, State.AT_REST),
    ]
    states = {each.name: each.state for each in view.groups[1].receivers}
    assert states == {
        "ok": State.RUNNING,
        "off": State.PAUSED,
        "broken": State.BREAKER,
        "gone": State.NO_WORKER,
    }
