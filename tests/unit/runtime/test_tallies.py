"""Workers add what they have done to the history of their groups."""

import asyncio
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Tally
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.environment import version_of
from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError
from edgy_bus.retrying import Retry, dead_letter
from edgy_bus.runtime import tallies
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.tallies import Tallies
from edgy_bus.runtime.worker import Worker
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import SETTINGS, subscribe


class Refusing(MemoryBroker):
    """A broker that raises an error for each tally while there is one."""

    error: Exception | None = None

    async def tally(self, *given: Any) -> None:
        if self.error is not None:
            raise self.error
        await super().tally(*given)


async def total(broker: MemoryBroker, group: str = "mail") -> Tally:
    counts = Tally()
    for tally in (await broker.history(group)).minutes.values():
        counts = counts.plus(tally)
    return counts


async def versions(broker: MemoryBroker) -> list[str]:
    return [version for _, version in (await broker.history("mail")).versions]


async def test_a_worker_adds_its_work_and_says_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "_EVERY", 0.05)

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> Any:
        if event.subject == "1":
            raise ValueError("never")
        return dead_letter("no") if event.subject == "2" else None

    broker = MemoryBroker()
    await publish(broker, *(event(str(n), n + 1) for n in range(5)))
    retry = Retry(attempts=2, delay=0.01)
    groups = [Subscriptions("mail", [subscribe(receiver, retry=retry)])]
    async with Worker(broker, groups, SETTINGS, version="1.0"):
        await eventually(lambda: _is(broker, Tally(handled=3, retried=1, dead=2)))
        await publish(broker, event("9", 10))
        await eventually(lambda: _is(broker, Tally(handled=4, retried=1, dead=2)))
    for version, known in (("1.0", ["1.0"]), ("", ["1.0"]), ("2.0", ["1.0", "2.0"])):
        async with Worker(broker, groups, SETTINGS, version=version):
            await asyncio.sleep(0)
        assert await versions(broker) == known
    assert await total(broker) == Tally(handled=4, retried=1, dead=2)


async def _is(broker: MemoryBroker, expected: Tally) -> bool:
    return await total(broker) == expected


async def test_counts_wait_while_the_broker_refuses_them() -> None:
    broker, stats = Refusing(), Stats()
    tally = Tallies(broker, {"mail": stats}, "1.0")
    stats.handled_by["r"] = 3
    with Told() as told:
        broker.error = BrokerUnavailable("away")
        await tally.add()
        assert told.all == [], "the consumers report an outage"
        broker.error = BrokerError("no right")
        for _ in range(2):
            await tally.add()
        assert told.of("tally.failed") == [{"error": "no right"}]
    broker.error = None
    stats.retries = 1
    for _ in range(2):
        await tally.add()
    assert await total(broker) == Tally(handled=3, retried=1)
    assert await versions(broker) == ["1.0"]


async def test_what_was_done_until_the_end_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "_EVERY", 3600.0)
    calls: list[str] = []

    async def receiver(sender: Any, event: Any, **kwargs: Any) -> None:
        calls.append(event.subject)

    broker = MemoryBroker()
    async with Worker(broker, [Subscriptions("mail", [subscribe(receiver)])], SETTINGS, version=""):
        # After the first tally, and long before the second.
        await asyncio.sleep(0.1)
        await publish(broker, event("1", 1), event("2", 2))
        await eventually(lambda: len(calls) == 2)
    assert await total(broker) == Tally(handled=2)


async def test_versions_that_work_side_by_side_make_two_lines() -> None:
    broker, workers = MemoryBroker(), []
    for version in ("1.0", "2.0"):
        stats = Stats()
        workers.append((Tallies(broker, {"mail": stats}, version), stats))
    for _ in range(3):
        for tally, stats in workers:
            stats.dead += 1
            await tally.add()
    assert await versions(broker) == ["1.0", "2.0"]
    assert await total(broker) == Tally(dead=6)


async def test_the_version_of_a_bus_is_that_of_its_workers() -> None:
    bus = edgy.Bus("memory://", service="mail", version="1.8", working=SETTINGS)

    @bus.receiver("accounts.User", "post_save")
    async def receiver(sender: Any, **kwargs: Any) -> None: ...

    async with bus.worker():
        broker = bus.broker
        assert isinstance(broker, MemoryBroker)
        await eventually(lambda: _has_version(broker, "1.8"))


async def _has_version(broker: MemoryBroker, version: str) -> bool:
    return await versions(broker) == [version]


def test_the_version_comes_from_the_bus_or_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EDGY_BUS_VERSION", raising=False)
    assert edgy.Bus().version == ""
    monkeypatch.setenv("EDGY_BUS_VERSION", "2026-11-28\n")
    assert edgy.Bus().version == "2026-11-28"
    assert edgy.Bus(version="1.2").version == "1.2"
    with pytest.raises(ConfigurationError, match=r"Bus\(version=…\) is no version"):
        version_of("1.2\n1.3")
    monkeypatch.setenv("EDGY_BUS_VERSION", "x" * 65)
    with pytest.raises(ConfigurationError, match="EDGY_BUS_VERSION is no version"):
        edgy.Bus()
