"""`edgy-bus top`: one answer for scripts and pipes, a screen for a terminal until Ctrl-C."""

import asyncio
import json
from typing import Any

import pytest
from rich.console import Console

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker, Enlisted
from edgy_bus.codec import dumps
from edgy_bus.outbox.leading import Leader
from tests.support import PARTITION, event, publish
from tests.unit.cli.support import prepare_outbox, run
from tests.unit.outbox.test_leading import Outbox


@pytest.fixture
def broker(bus: edgy.Bus, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """The broker of the bus, with a group that works, and a relay."""
    prepare_outbox(bus)
    assert bus.broker is not None
    asyncio.run(_fill(bus.broker))
    monkeypatch.setattr("edgy_bus.operations.top.BETWEEN", 0.01)
    return bus.broker


async def _fill(broker: Broker) -> None:
    await publish(broker, event("1", 1), event("1", 2))
    lease = await broker.acquire(PARTITION, "mail", "w.1795827799077", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    await broker.enlist("mail", [Enlisted("app.[send]", ("a.b.c",))], 1e9, begins=True)
    calls = {"app.[send]": [0, 1, 1, 4000000000.0]}
    report = {"protocol": 3, "receivers": list(calls), "at": 1.0, "calls": calls}
    await broker.join("mail", "w", 60, dumps(report))
    await Leader(broker, Outbox("1f2e3d4c5b6a", "accounts"), 60.0).step()


@pytest.mark.usefixtures("broker")
def test_a_script_gets_one_answer(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "top", "--json")
    answer = json.loads(out)
    assert (status, answer["exit"], answer["command"]) == (0, 0, "top")
    (group,) = answer["data"]["groups"]
    assert (group["name"], group["state"], group["lag"]) == ("mail", "running", 2)
    assert (group["arriving"], group["finishing"]) == (0.0, 0.0)
    (receiver,) = group["receivers"]
    assert (receiver["name"], receiver["jobs"], receiver["waiting"]["count"]) == (
        "app.[send]",
        1,
        1,
    )
    assert [each["leads"] for each in answer["data"]["relays"]] == [True]
    assert len(answer["data"]["outboxes"]) == 1


@pytest.mark.usefixtures("broker")
def test_a_pipe_gets_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "top")
    assert status == 0
    assert "outbox sqlite://" in out
    assert "relay of accounts (outbox 1f2e3d4c) at " in out
    assert " leads since " in out
    group, receiver = (line.split() for line in out.splitlines()[-2:])
    assert group[:5] == ["mail", "running", "2", "0", "0.0"]
    assert receiver[:2] == ["app.[send]", "running"]
    assert "1, first in" in out


@pytest.mark.usefixtures("broker")
def test_a_terminal_gets_a_screen_until_ctrl_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if seconds < 1:
            return await sleep(seconds)
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt
        return None

    def console(*args: Any, **kwargs: Any) -> Console:
        return Console(force_terminal=True, width=140, height=30)

    monkeypatch.setattr("edgy_bus.cli.top.Console", console)
    monkeypatch.setattr("edgy_bus.cli.top.asyncio.sleep", pause)
    status, out, _ = run(capsys, "top", "--every", "7")
    assert (status, pauses) == (0, [7.0] * 3)
    assert out.count("app.[send]") >= 3
    assert out.endswith("\x1b[?1049l\x1b[?25h") or "\x1b[?1049l" in out, "the screen is given back"


def test_a_bus_at_rest_is_shown(
    capsys: pytest.CaptureFixture[str], bus: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_outbox(bus)
    monkeypatch.setattr("edgy_bus.operations.top.BETWEEN", 0.01)
    status, out, _ = run(capsys, "top")
    assert status == 0
    assert "no relay is listed" in out
    assert "no group has read a stream" in out
