"""`edgy-bus receiver list`, `rename` and `forget`."""

import asyncio
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Enlisted
from edgy_bus.cli import main
from edgy_bus.codec import dumps, loads


def run(capsys: pytest.CaptureFixture[str], command: str, *rest: str) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["receiver", command, "program:bus", *rest])
    output = capsys.readouterr()
    return caught.value.code, output.out, output.err


@pytest.fixture
def listed(bus: edgy.Bus) -> edgy.Bus:
    """The bus, with a receiver of a live worker, and a receiver of no program."""
    broker = bus.broker
    assert broker is not None
    names = [Enlisted(name, ("shop.Order.post_save",)) for name in ("send", "index")]

    async def enlist() -> None:
        await broker.enlist("accounts", names, 60, begins=True)
        await broker.join("accounts", "w", 60, dumps({"protocol": 3, "receivers": ["send"]}))

    asyncio.run(enlist())
    return bus


@pytest.mark.usefixtures("bus")
def test_a_group_that_has_not_begun_has_no_receivers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list") == (0, "no worker has listed a receiver yet\n", "")


@pytest.mark.usefixtures("listed")
def test_a_receiver_without_a_program_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    _, index, send = out.splitlines()
    assert status == 1
    assert send.split() == ["accounts", "send", "shop.Order.post_save", "1"]
    assert index.endswith("s: start one, or `receiver forget`")
    status, out, _ = run(capsys, "list", "--json")
    assert [each["workers"] for each in loads(out)["data"]["receivers"]] == [[], ["w"]]


@pytest.mark.usefixtures("listed")
def test_a_receiver_is_renamed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "rename", "send", "post") == (
        0,
        "workers that start from now on may have 'send' as post\n",
        "",
    )
    _, out, _ = run(capsys, "list")
    assert out.splitlines()[2].split()[-2:] == ["also", "post"]
    assert run(capsys, "rename", "send", "send")[1] == (
        "workers that start from now on know 'send' by this name only\n"
    )
    status, _, err = run(capsys, "rename", "send")
    assert (status, "name the receiver, and its other name" in err) == (2, True)
    status, _, err = run(capsys, "rename", "send", "index")
    assert (status, "progress of its own" in err) == (2, True)


@pytest.mark.usefixtures("listed")
def test_a_receiver_is_forgotten(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "forget", "index") == (
        0,
        "the group 'accounts' has forgotten the receiver 'index'\n",
        "",
    )
    status, out, _ = run(capsys, "list")
    assert (status, out.splitlines()[1].split()[-1]) == (0, "forgotten")
    status, _, err = run(capsys, "forget", "send")
    assert (status, "stop them" in err) == (2, True)
    status, _, err = run(capsys, "forget")
    assert (status, "name the receiver" in err) == (2, True)
