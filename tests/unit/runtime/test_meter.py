"""What is measured of the calls of receivers, and that nothing is without a collector."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.observability.metrics import Ledger
from edgy_bus.retrying import Retry
from edgy_bus.runtime import meter as meters
from edgy_bus.runtime.meter import Meter
from edgy_bus.telemetry import Distribution
from tests.support import event, eventually, publish
from tests.unit.runtime.support import Group, subscribe

R = ("mail", "r")
HANDLED = ("edgy_bus_receiver_handled_events_total", R)
SKIPPED = ("edgy_bus_receiver_skipped_events_total", R)
LETTERS = ("edgy_bus_dead_letters_total", R)
TIMES = ("edgy_bus_receiver_duration_seconds", R)
DELAYS = ("edgy_bus_start_delay_seconds", R)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.close()


async def handle(receiver: Any, *events: edgy.Event, **options: Any) -> Meter:
    """Run a tenure until every event is finished."""
    broker = MemoryBroker()
    await publish(broker, *events)
    group = Group(broker, subscribe(receiver, **options))
    meter = Meter("mail")
    object.__setattr__(group.tools, "meter", meter)
    tenure = await group.begin()

    def is_finished() -> bool:
        return group.stats.handled + group.stats.skipped + group.stats.dead == len(events)

    await eventually(is_finished)
    await group.end(tenure)
    return meter


def counted(ledger: Ledger, key: tuple[str, tuple[str, str]]) -> float:
    number = ledger.series().get(key, 0)
    return sum(number.counts) if isinstance(number, Distribution) else number


def figures(ledger: Ledger) -> dict[str, float]:
    keys = {"handled": HANDLED, "skipped": SKIPPED, "letters": LETTERS}
    keys |= {"times": TIMES, "delays": DELAYS}
    return {name: counted(ledger, key) for name, key in keys.items()}


ROWS = [event(str(n), n) for n in range(1, 6)]


async def at_once(sender: Any, **kwargs: Any) -> None:
    """Wait for nothing."""


async def waits(sender: Any, **kwargs: Any) -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("receiver", [at_once, waits])
async def test_calls_are_measured_when_they_are_folded(ledger: Ledger, receiver: Any) -> None:
    meter = await handle(receiver, *ROWS)
    assert figures(ledger)["handled"] == 0
    meter.fold()
    expected = {"handled": 5, "skipped": 0, "letters": 0, "times": 5, "delays": 5}
    assert figures(ledger) == expected
    meter.fold()
    assert figures(ledger) == expected


async def test_the_times_are_those_of_the_clock(ledger: Ledger) -> None:
    async def slow(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0.06)

    (await handle(slow, ROWS[0])).fold()
    times, delays = ledger.series()[TIMES], ledger.series()[DELAYS]
    assert isinstance(times, Distribution)
    assert isinstance(delays, Distribution)
    assert 0.05 < times.total < 60
    assert 0 <= delays.total < 60


async def test_a_retried_call_is_timed_and_only_its_first_start(ledger: Ledger) -> None:
    calls = []

    async def fails_first(sender: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("no")

    (await handle(fails_first, ROWS[0])).fold()
    assert figures(ledger) == {"handled": 1, "skipped": 0, "letters": 0, "times": 2, "delays": 1}


async def test_an_event_that_is_given_up_is_a_letter_and_not_handled(ledger: Ledger) -> None:
    async def fails(sender: Any, **kwargs: Any) -> None:
        raise RuntimeError("no")

    (await handle(fails, ROWS[0], retry=Retry(attempts=1))).fold()
    assert figures(ledger) == {"handled": 0, "skipped": 0, "letters": 1, "times": 1, "delays": 1}


async def test_an_event_that_a_filter_leaves_out_is_no_call(ledger: Ledger) -> None:
    (await handle(at_once, *ROWS, where=lambda row: row.n > 3)).fold()
    assert figures(ledger) == {"handled": 2, "skipped": 3, "letters": 0, "times": 2, "delays": 2}


async def test_a_batch_is_one_call(ledger: Ledger) -> None:
    async def together(sender: Any, instances: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)

    (await handle(together, *ROWS, batch=edgy.Batch(5, 3600.0))).fold()
    assert figures(ledger) == {"handled": 5, "skipped": 0, "letters": 0, "times": 1, "delays": 5}


@pytest.mark.parametrize("receiver", [at_once, waits])
async def test_all_events_are_counted_and_some_calls_are_timed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, receiver: Any
) -> None:
    monkeypatch.setattr(meters, "TIMED", 2)
    meter = await handle(receiver, *ROWS)
    expected = {"handled": 5, "skipped": 0, "letters": 0, "times": 2, "delays": 2}
    meter.fold()
    assert figures(ledger) == expected
