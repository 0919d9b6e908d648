"""A failed call is one line; many similar ones have a bounded rate, and are counted."""

import asyncio
import logging
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.observability.logging import log_telemetry
from edgy_bus.retrying import Retry
from edgy_bus.runtime import failures as failures_module
from edgy_bus.runtime.failures import GIVE_UPS, PERIOD, RETRIES, Budget
from edgy_bus.telemetry import catalogue
from tests.support import Told, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

KIND = ("mail", "r", "LookupError")


def test_a_kind_has_a_number_of_lines_in_a_period() -> None:
    budget = Budget()
    answers = [budget.allows(KIND, 0.0, gave_up=False) for _ in range(RETRIES + 3)]
    assert answers == [True] * RETRIES + [False] * 3
    assert budget.allows(("mail", "r", "ValueError"), 0.0, gave_up=False)
    assert budget.allows(KIND, 0.0, gave_up=True)
    assert budget.ended(PERIOD - 1) == {}
    ended = budget.ended(PERIOD)
    assert ended[KIND].left_out == (3, 0)
    assert budget.allows(KIND, PERIOD, gave_up=False)


def test_kinds_are_bounded() -> None:
    budget = Budget()
    for number in range(5_000):
        budget.allows(("mail", "r", f"Error{number}"), 0.0, gave_up=True)
    assert len(budget.counts) <= 1_001
    left_out = sum(count.left_out[1] for count in budget.counts.values())
    assert left_out == 4_000 - GIVE_UPS


async def test_a_flood_of_failures_is_a_few_lines_and_a_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(sender: Any, **kwargs: Any) -> None:
        raise ConnectionError("the CRM is away")

    broker = MemoryBroker()
    await publish(broker, *[event(str(number), number + 1) for number in range(200)])
    group = Group(broker, subscribe(broken, retry=Retry(attempts=2, delay=0.01, jitter=0)))
    stop = log_telemetry()
    with caplog.at_level(logging.INFO, logger="edgy_bus"), Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 200)
        await group.end(tenure)
        group.tools.failures.close()
    stop()
    assert len(told.of("receiver.retried")) == 200, "metrics count every call"
    assert len(told.of("receiver.gave_up")) == 200
    lines = [record.getMessage().split()[0] for record in caplog.records]
    assert lines.count("receiver.retried") == RETRIES
    assert lines.count("receiver.gave_up") == GIVE_UPS
    (often,) = told.of("receiver.fails_often")
    assert (often["retried"], often["gave_up"]) == (200 - RETRIES, 200 - GIVE_UPS)
    assert often["error"] == "ConnectionError"


async def test_what_was_left_out_is_reported_when_the_period_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failures_module, "PERIOD", 0.05)

    async def broken(sender: Any, **kwargs: Any) -> None:
        raise ConnectionError

    broker = MemoryBroker()
    await publish(broker, *[event(str(number), number + 1) for number in range(GIVE_UPS + 5)])
    group = Group(broker, subscribe(broken, retry=Retry(attempts=1)))
    with Told() as told:
        tenure = await group.begin()
        await eventually(lambda: told.of("receiver.fails_often"))
        await group.end(tenure)
    group.tools.failures.close()
    assert sum(report["gave_up"] for report in told.of("receiver.fails_often")) == 5


async def test_a_line_has_the_traceback_and_what_follows_and_no_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def inner(email: str) -> None:
        raise LookupError("no such customer")

    async def broken(sender: Any, instance: Any, **kwargs: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(inner(instance.email))

    broker = MemoryBroker()
    row = {"id": 1, "email": "planted@example.com"}
    await publish(broker, event("1", 1, instance=row))
    group = Group(broker, subscribe(broken, retry=Retry(attempts=2, delay=0.01, jitter=0)))
    stop = log_telemetry()
    with caplog.at_level(logging.DEBUG, logger="edgy_bus"):
        tenure = await group.begin()
        await eventually(lambda: group.stats.dead == 1)
        await group.end(tenure)
    stop()
    retried, gave_up = (
        next(record for record in caplog.records if record.getMessage().startswith(name))
        for name in ("receiver.retried", "receiver.gave_up")
    )
    assert (retried.levelno, gave_up.levelno) == (logging.WARNING, logging.ERROR)
    assert "follows='attempt 2 in 0.01 s'" in retried.getMessage()
    assert "follows='dead letter'" in gave_up.getMessage()
    for record in (retried, gave_up):
        assert "LookupError: no such customer" in record.getMessage()
        assert "in inner" in (record.exc_text or "")
        assert "raise LookupError" in (record.exc_text or "")
        assert "planted" not in logging.Formatter().format(record)


async def test_a_snooze_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    async def busy(sender: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return edgy.snooze(0.01) if len(calls) < 4 else None

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(busy))
    stop = log_telemetry()
    with caplog.at_level(logging.INFO, logger="edgy_bus"), Told() as told:
        tenure = await group.begin()
        await eventually(lambda: group.stats.handled == 1)
        await group.end(tenure)
    stop()
    assert [record.getMessage() for record in caplog.records] == []
    assert len(told.of("receiver.retried")) == 3


def test_a_notice_of_a_failed_call_shows_no_switch() -> None:
    notice = catalogue.ReceiverRetried(
        group="g", receiver="r", event="e", event_id="i", attempts=1, reason="x", follows="y"
    )
    assert "quiet" not in notice.values()
