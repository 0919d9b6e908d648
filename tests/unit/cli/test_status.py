"""`edgy-bus status`, `group list` and `streams`: what is shown, and with which status."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker, Enlisted
from edgy_bus.codec import dumps
from edgy_bus.outbox.leading import Leader
from tests.support import PARTITION, bury, event, publish
from tests.unit.cli.support import prepare_outbox, run, run_words
from tests.unit.outbox.test_leading import Outbox

GROUPS = ("group", "list", "program:bus")


@pytest.fixture
def broker(bus: edgy.Bus) -> Broker:
    """The broker of the bus, whose outbox has tables."""
    prepare_outbox(bus)
    assert bus.broker is not None
    return bus.broker


@pytest.mark.usefixtures("broker")
def test_a_bus_at_rest_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "status")
    assert status == 0
    assert "0 events to publish" in out
    assert "no group has read a stream" in out
    assert run_words(capsys, *GROUPS)[:2] == (0, "no group has read a stream\n")
    assert run(capsys, "streams")[:2] == (0, "there is no stream\n")


def test_a_group_that_needs_an_operator_is_a_finding(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(bury(broker, event("1", 1)))
    status, out, _ = run(capsys, "status")
    assert status == 1
    assert "`edgy-bus dead list`" in out
    status, out, _ = run(capsys, "status", "--json")
    (group,) = json.loads(out)["data"]["groups"]
    assert (status, group["name"], group["dead"], group["lag"]) == (1, "mail", 1, 0)
    status, out, _ = run(capsys, "streams")
    assert status == 0
    assert "accounts.User:0" in out


async def _leave_unread(broker: Broker) -> None:
    await publish(broker, event("1", 1), event("1", 2))
    lease = await broker.acquire(PARTITION, "mail", "worker.1", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)


def test_a_group_without_workers_and_the_owners_of_its_streams_are_shown(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(_leave_unread(broker))
    status, out, _ = run_words(capsys, *GROUPS)
    assert status == 1
    assert "no worker: start one" in out
    assert out.splitlines()[-1].split() == ["mail", "worker", "1", "not", "alive"]
    (group,) = json.loads(run_words(capsys, *GROUPS, "--json")[1])["data"]["groups"]
    assert (group["lag"], group["unfinished"], group["owners"]) == (2, 1, {"worker": 1})


async def _work(broker: Broker) -> None:
    await publish(broker, event("1", 1))
    lease = await broker.acquire(PARTITION, "mail", "worker.1795827799077", 60)
    assert lease is not None
    await broker.fetch(lease, 1, inherit=False)
    report = {"protocol": 3, "at": 1.0, "calls": {"send": [0, 2, 2, 1795827899.0]}}
    await broker.join("mail", "worker", 60, dumps(report))
    await broker.enlist("mail", [Enlisted("send", ("shop.Ordr.post_save",))], 60, begins=True)
    await Leader(broker, Outbox("1f2e3d4c5b6a"), 60.0).step()
    await Leader(broker, Outbox("1f2e3d4c5b6a"), 60.0).step()


def test_relays_owners_and_what_waits_are_shown(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(_work(broker))
    status, out, _ = run(capsys, "status")
    assert status == 0
    leader, standby = (line for line in out.splitlines() if line.startswith("relay of accounts"))
    assert "(outbox 1f2e3d4c) at " in leader
    assert " leads since " in leader
    assert " stands by since " in standby
    assert "2 retries wait, the first until 2026-11-28 01:04:59Z" in out
    assert "nobody publishes shop.Ordr.post_save" in out
    since = "2026-11-28 01:03:19Z"
    assert since in run(capsys, "streams")[1]
    owner = run_words(capsys, *GROUPS)[1].splitlines()[-1].split()
    assert owner == ["mail", "worker", "1", *since.split(), *since.split()]


def test_a_watch_shows_one_status_after_another_until_ctrl_c(
    capsys: pytest.CaptureFixture[str], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = 0

    async def sleep(seconds: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("edgy_bus.cli.status.asyncio.sleep", sleep)
    status, out, _ = run(capsys, "status", "--watch", "--json")
    assert (status, len(out.splitlines())) == (0, 3)
