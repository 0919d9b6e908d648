"""`edgy-bus pause` and `resume`: what is done, what is said, and what other commands show."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Enlisted
from edgy_bus.brokers.protocol import PROTOCOL
from edgy_bus.codec import dumps
from tests.support import PARTITION, event, publish
from tests.unit.cli.support import run, run_words


@pytest.fixture
def working(bus: edgy.Bus, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus, with a worker of the group `accounts` that has not read yet."""
    assert bus.broker is not None
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    asyncio.run(bus.broker.join("accounts", "w1", 60, b""))
    return bus


def test_a_group_is_paused_and_resumed(
    capsys: pytest.CaptureFixture[str], working: edgy.Bus
) -> None:
    status, out, _ = run(capsys, "pause", "--reason", "the mail server is away")
    assert (status, out) == (
        0,
        "the group 'accounts' is paused until `edgy-bus resume accounts`: its 1 workers let "
        "running calls finish, and begin no other\n",
    )
    assert working.broker is not None
    pause = asyncio.run(working.broker.members("accounts")).pause
    assert pause == (None, "ana@desk: the mail server is away")
    assert run(capsys, "resume") == (0, "the group 'accounts' goes on\n", "")
    assert run(capsys, "resume") == (1, "", "the group 'accounts' was not paused\n")


@pytest.mark.usefixtures("working")
def test_a_pause_may_have_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "pause", "accounts", "--for", "2h", "--json")
    data = json.loads(out)["data"]
    assert (status, data["group"], data["note"]) == (0, "accounts", "ana@desk")
    assert data["until"] > 1_700_000_000


@pytest.mark.parametrize("text", ["2", "0s", "-1h", "1y", "2 h", "366d", "9" * 40 + "d"])
@pytest.mark.usefixtures("working")
def test_what_is_no_length_of_time_is_refused(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    status, _, err = run(capsys, "pause", f"--for={text}")
    assert (status, err) == (
        2,
        f"Error: '{text}' is not a length of time: write 30s, 15m, 2h or 7d\n",
    )


@pytest.mark.usefixtures("working")
def test_a_misspelt_group_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "pause", "acounts")
    assert (status, err) == (
        2,
        "Error: no group 'acounts' has read a stream; the groups are: none\n",
    )


def test_status_and_doctor_tell_of_a_pause(
    capsys: pytest.CaptureFixture[str], working: edgy.Bus
) -> None:
    assert working.broker is not None

    async def read() -> None:
        assert working.broker is not None
        await publish(working.broker, event("1", 1))
        lease = await working.broker.acquire(PARTITION, "accounts", "w1", 60)
        assert lease is not None
        await working.broker.fetch(lease, 10, inherit=True)
        await working.broker.release(lease)

    asyncio.run(read())
    run(capsys, "pause", "--reason", "the mail server is away")
    status, out, _ = run(capsys, "status")
    assert status == 1
    assert "paused by ana@desk: the mail server is away" in out
    status, out, _ = run(capsys, "doctor", "--json")
    findings = {each["code"]: each for each in json.loads(out)["data"]["findings"]}
    assert findings["group.paused"]["remedy"] == "`edgy-bus resume accounts`"
    assert "group.unowned" not in findings


@pytest.fixture
def receiving(working: edgy.Bus) -> edgy.Bus:
    """The bus, with a worker that has the receiver `mails.send`."""
    assert working.broker is not None
    broker = working.broker
    report = dumps({"protocol": PROTOCOL.version, "receivers": ["mails.send"]})

    async def begin() -> None:
        await publish(broker, event("1", 1))
        lease = await broker.acquire(PARTITION, "accounts", "w1", 60)
        assert lease is not None
        await broker.fetch(lease, 10, inherit=True)
        await broker.join("accounts", "w1", 60, report)
        enlisted = [Enlisted("mails.send", ("accounts.User.post_save",))]
        await broker.enlist("accounts", enlisted, 3600, begins=True)

    asyncio.run(begin())
    return working


def test_a_receiver_is_paused_and_resumed(
    capsys: pytest.CaptureFixture[str], receiving: edgy.Bus
) -> None:
    words = ("--receiver", "mails.send")
    status, out, _ = run(capsys, "pause", *words, "--reason", "the mail server is away")
    assert (status, out) == (
        0,
        "the receiver 'mails.send' of the group 'accounts' is paused until `edgy-bus resume "
        "accounts --receiver mails.send`: its 1 workers let running calls finish, and begin no "
        "other\n",
    )
    assert receiving.broker is not None
    members = asyncio.run(receiving.broker.members("accounts"))
    assert members.pause is None
    assert members.paused == {"mails.send": (None, "ana@desk: the mail server is away")}
    status, out, _ = run(capsys, "status")
    assert status == 1
    assert "mails.send paused" in out
    status, out, _ = run_words(capsys, "receiver", "list", "program:bus")
    assert "paused by ana@desk" in out
    _, out, _ = run(capsys, "doctor", "--json")
    findings = {each["code"]: each for each in json.loads(out)["data"]["findings"]}
    remedy = "`edgy-bus resume accounts --receiver mails.send`"
    assert findings["receiver.paused"]["remedy"] == remedy
    status, out, _ = run(capsys, "resume", *words)
    assert (status, out) == (0, "the receiver 'mails.send' of the group 'accounts' goes on\n")
    assert run(capsys, "resume", *words) == (
        1,
        "",
        "the receiver 'mails.send' of the group 'accounts' was not paused\n",
    )


@pytest.mark.usefixtures("receiving")
def test_a_misspelt_receiver_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "pause", "--receiver", "mails.sent")
    assert (status, err) == (
        2,
        "Error: the group 'accounts' has no receiver 'mails.sent'; its receivers are: mails.send\n",
    )


def test_a_worker_of_an_older_release_pauses_no_single_receiver(
    capsys: pytest.CaptureFixture[str], receiving: edgy.Bus
) -> None:
    assert receiving.broker is not None
    asyncio.run(receiving.broker.join("accounts", "w0", 60, dumps({"protocol": 2})))
    status, _, err = run(capsys, "pause", "--receiver", "mails.send")
    assert (status, err) == (
        2,
        "Error: workers of an older release do not pause a single receiver: stop w0, or pause the "
        "whole group 'accounts'\n",
    )
