"""The doctor: a finding for each thing that is wrong, and silence where nothing is."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from edgy_bus.brokers.base import BrokerFacts
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.operations import Diagnosis, OutboxStatus, Parts, Severity, diagnosis, doctor
from tests.support import PARTITION, bury, event, hold, publish

WELL = {
    "redis_version": "7.2.4",
    "maxmemory": "1000",
    "used_memory": "100",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "rdb_last_bgsave_status": "ok",
}


class Clock:
    """The time of this machine, and an offset."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Described(MemoryBroker):
    """A broker that describes itself as a server does."""

    def __init__(self, **settings: str) -> None:
        self.clock = Clock()
        super().__init__(self.clock)
        self.settings: Mapping[str, str] = {**WELL, **settings}

    async def facts(self) -> BrokerFacts:
        return BrokerFacts(self.clock(), self.settings)


async def examine(broker: MemoryBroker, **options: Any) -> Diagnosis:
    return await doctor(Parts(broker, "accounts"), **{"seconds": 0.0, **options})


def codes(found: Diagnosis) -> list[str]:
    assert all(finding.why and finding.remedy and finding.about for finding in found.findings)
    return [finding.code for finding in found.findings]


async def test_where_all_is_well_nothing_is_found() -> None:
    found = await examine(Described())
    assert found == Diagnosis(())
    assert not found.fails(Severity.WARNING)


@pytest.mark.parametrize(
    ("settings", "code", "severity"),
    [
        ({"redis_version": "6.0.16"}, "broker.version", Severity.ERROR),
        ({"maxmemory_policy": "allkeys-lru"}, "broker.evicts", Severity.ERROR),
        ({"used_memory": "900"}, "broker.nearly_full", Severity.WARNING),
        ({"aof_enabled": "0"}, "broker.not_persistent", Severity.WARNING),
        ({"rdb_last_bgsave_status": "err"}, "broker.snapshot_failed", Severity.ERROR),
    ],
)
async def test_a_setting_of_the_broker_is_a_finding(
    settings: dict[str, str], code: str, severity: Severity
) -> None:
    found = await examine(Described(**settings))
    assert [(finding.code, finding.severity) for finding in found.findings] == [(code, severity)]
    assert found.fails(Severity.WARNING)
    assert found.fails(Severity.ERROR) == (severity is Severity.ERROR)


async def test_what_the_broker_does_not_say_is_named() -> None:
    broker = Described()
    broker.settings = {}
    assert codes(await examine(broker)) == ["broker.unknown"]


@pytest.mark.parametrize("ahead", [-5.0, 5.0])
async def test_clocks_that_differ_are_a_finding(ahead: float) -> None:
    broker = Described()
    broker.clock.ahead = ahead
    (finding,) = (await examine(broker)).findings
    assert finding.code == "clock.differs"
    assert f"{ahead:+.1f} s" in finding.why


async def test_letters_and_held_rows_are_findings() -> None:
    broker = Described()
    await bury(broker, event("1", 1))
    await hold(broker, "2")
    assert codes(await examine(broker)) == ["dead.letters", "held.rows"]


async def _read(broker: MemoryBroker, group: str = "mail") -> None:
    lease = await broker.acquire(PARTITION, group, "w.1", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    await broker.release(lease)


async def test_a_group_without_workers_or_owners_is_a_finding() -> None:
    broker = Described()
    await publish(broker, event("1", 1), event("1", 2))
    await _read(broker)
    found = await examine(broker)
    assert codes(found) == ["group.deserted"]
    assert "edgy-bus group forget MODULE:BUS mail" in found.findings[0].remedy
    await broker.join("mail", "w", 60, b"")
    assert codes(await examine(broker)) == ["group.unowned"]


async def test_a_lag_that_only_grows_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Described()
    await publish(broker, event("1", 1))
    lease = await broker.acquire(PARTITION, "mail", "w.1", 600)
    assert lease is not None
    (entry,) = (await broker.fetch(lease, 1, inherit=False)).entries
    await broker.join("mail", "w", 600, b"")
    grows = True

    async def sleep(seconds: float) -> None:
        broker.clock.ahead += 40
        if grows:
            await publish(broker, event("1", 2))

    monkeypatch.setattr(diagnosis.asyncio, "sleep", sleep)
    assert codes(await examine(broker)) == ["group.falls_behind"]
    broker.clock.ahead = 0
    grows = False
    assert codes(await examine(broker)) == [], "behind, and not growing"
    await broker.settle(lease, [entry.id])


async def test_an_outbox_that_stands_or_cannot_be_read_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outboxes = [
        OutboxStatus("sqlite:///well", 5, 1.0),
        OutboxStatus("sqlite:///stands", 5, 100.0),
        OutboxStatus("sqlite:///new", None, None, "no such table"),
    ]
    found = [each for outbox in outboxes for each in diagnosis._of_outbox(outbox)]
    assert [(finding.code, finding.about) for finding in found] == [
        ("outbox.stands", "sqlite:///stands"),
        ("outbox.unreadable", "sqlite:///new"),
    ]
    unreachable = await examine(Described(), unreachable="PostgreSQL is away")
    assert codes(unreachable) == ["outbox.unreachable"]


async def test_an_entry_without_a_position_is_foreign() -> None:
    broker = Described()
    await publish(broker, event("1", 1))
    assert codes(await examine(broker)) == []
    await publish(broker, event("1", None))
    (finding,) = (await examine(broker)).findings
    assert (finding.code, finding.about) == ("stream.foreign", f"stream {PARTITION}")
    # The newest entries only: an old one cannot be mended any more.
    await publish(broker, *(event("1", number) for number in range(2, 30)))
    assert codes(await examine(broker)) == []
