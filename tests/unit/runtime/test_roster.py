"""The roster of a group, as a worker keeps and reports it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from edgy_bus import telemetry
from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.runtime import roster as module
from edgy_bus.runtime.roster import GroupRoster, enlisted
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.telemetry import Notice
from tests.unit.runtime.support import subscribe

NOTICES = ("roster.added", "roster.missing", "roster.forgotten")


class Clock:
    """The clock of the broker."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def notices() -> Iterator[list[tuple[str, Any]]]:
    heard: list[tuple[str, Any]] = []

    def listen(notice: Notice) -> None:
        if notice.name in NOTICES:
            heard.append((notice.name, list(notice.values()["receivers"])))

    stop = telemetry.listen(listen)
    yield heard
    stop()


async def ignore(**kwargs: Any) -> None: ...


def roster_of(broker: MemoryBroker, *names: str, **options: Any) -> GroupRoster:
    subscriptions = [subscribe(ignore, name=name, **options) for name in names]
    return GroupRoster(broker, Subscriptions("mail", subscriptions), 3600)


async def version(broker: MemoryBroker) -> str:
    return (await broker.roster("mail")).version


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.0)


def test_a_receiver_is_enlisted_once_with_all_its_signals() -> None:
    subscriptions = [
        subscribe(ignore, "post_save", name="a", start="now"),
        subscribe(ignore, "post_delete", name="a"),
        subscribe(ignore, name="b"),
    ]
    signals = ("accounts.User.post_delete", "accounts.User.post_save")
    assert enlisted(subscriptions) == [Enlisted("a", signals, "now"), Enlisted("b", signals[1:])]


async def test_a_worker_learns_of_receivers_of_other_programs(
    notices: list[tuple[str, Any]],
) -> None:
    broker = MemoryBroker()
    mailer, audit = roster_of(broker, "mailer"), roster_of(broker, "audit")
    assert await mailer.renew("")
    assert await audit.renew(await version(broker))
    assert set(mailer.receivers) == {"mailer"}
    assert await mailer.renew(await version(broker))
    assert set(mailer.receivers) == {"mailer", "audit"}
    assert not await mailer.renew(await version(broker)), "nothing has changed"
    assert notices == [("roster.added", ["mailer"]), ("roster.added", ["audit"])]


@pytest.mark.usefixtures("at_once")
async def test_a_receiver_that_no_program_has_is_reported_once(
    notices: list[tuple[str, Any]],
) -> None:
    clock = Clock()
    broker = MemoryBroker(clock)
    await roster_of(broker, "old").renew("")
    clock.now += module.MISSING + 1
    new = roster_of(broker, "new")
    for _ in range(4):
        await new.renew(await version(broker))
    # At the first call, the program of the old receiver may be about to start.
    assert notices[2:] == [("roster.missing", ["old"])]
    await roster_of(broker, "old").renew("")
    await new.renew(await version(broker))
    clock.now += module.MISSING + 1
    for _ in range(3):
        await new.renew(await version(broker))
    assert notices[3:] == [("roster.missing", ["old"])], "and again, after it was there"


@pytest.mark.usefixtures("at_once")
async def test_a_receiver_that_no_program_had_for_long_is_forgotten(
    notices: list[tuple[str, Any]],
) -> None:
    clock = Clock()
    broker = MemoryBroker(clock)
    await roster_of(broker, "old").renew("")
    clock.now += 3601
    new = roster_of(broker, "new")
    assert await new.renew("")
    assert (set(new.receivers), set(new.forgotten)) == ({"new"}, {"old"})
    assert new.models(pre=False) == ["accounts.User"]
    assert ("roster.forgotten", ["old"]) in notices


async def test_a_program_that_runs_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERY", 0.01)
    clock = Clock()
    broker = MemoryBroker(clock)
    roster = roster_of(broker, "r")
    await roster.renew("")
    clock.now += 100
    await asyncio.sleep(0.02)
    await roster.renew(await version(broker))
    assert (await broker.roster("mail")).receivers["r"].seen == clock.now
