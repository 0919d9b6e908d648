"""`edgy-bus tail`: a line or an envelope for each event, until Ctrl-C."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker
from tests.support import PARTITION, event, publish
from tests.unit.cli.support import run

FIRST = event("1", 1)._replace(context={"actor": "ada\n"}, causation="cause")
LATER = event("2", 2)._replace(signal="post_delete", backfill=True, replay="0192")


@pytest.fixture
def broker(bus: edgy.Bus) -> Broker:
    assert bus.broker is not None
    return bus.broker


@pytest.fixture
def later(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Publish an event during the first pause of the tail; press Ctrl-C in the third."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            await publish(broker, LATER)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("edgy_bus.cli.tail.asyncio.sleep", pause)
    return pauses


def test_each_event_is_a_line(
    capsys: pytest.CaptureFixture[str], broker: Broker, later: list[float]
) -> None:
    asyncio.run(publish(broker, FIRST))
    status, out, err = run(capsys, "tail")
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert FIRST.id in first
    assert first.endswith("actor=ada   caused by cause")
    assert f"{PARTITION.model}.post_delete  2  {LATER.id}" in second
    assert second.endswith("backfill  replay of 0192")
    assert all(pause > 0 for pause in later)


def test_a_program_reads_an_envelope_for_each_event(
    capsys: pytest.CaptureFixture[str], broker: Broker, later: list[float]
) -> None:
    asyncio.run(publish(broker, FIRST))
    status, out, _ = run(capsys, "tail", "--json", "--last", "0")
    assert status == 0
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert (answer["format"], answer["command"]) == (1, "tail")
    assert (answer["data"]["id"], answer["data"]["subject"]) == (LATER.id, "2")


def test_a_filter_shows_less_and_an_unknown_model_is_said(
    capsys: pytest.CaptureFixture[str], broker: Broker, later: list[float]
) -> None:
    asyncio.run(publish(broker, FIRST))
    status, out, err = run(capsys, "tail", "--key", "2", "--signal", "post_delete")
    assert (status, err) == (0, "")
    assert LATER.id in out
    assert FIRST.id not in out
    later.clear()
    status, out, err = run(capsys, "tail", "--model", "accounts.Usr")
    assert (status, out) == (0, "")
    assert f"no service has declared accounts.Usr so far; declared models: {PARTITION.model}" in err
