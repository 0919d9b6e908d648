"""`edgy-bus actions`: who did what, as commands record it."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import ActionEntry
from edgy_bus.errors import BrokerError
from tests.support import bury, event, hold
from tests.unit.cli.support import run, run_words


@pytest.fixture
def desk(bus: edgy.Bus, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus, with a dead letter and a held row of its group."""
    monkeypatch.delenv("EDGY_BUS_OPERATOR", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    assert bus.broker is not None
    asyncio.run(bury(bus.broker, event("1", 1), group="accounts", reason="HTTP 503"))
    asyncio.run(hold(bus.broker, "42", group="accounts", receiver="app.mail"))
    return bus


@pytest.mark.usefixtures("bus")
def test_where_nothing_was_done_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "actions") == (0, "no action is recorded\n", "")


@pytest.mark.usefixtures("desk")
def test_commands_record_what_they_do_and_for_whom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, "pause", "--for", "2h", "--reason", "mail is away")
    run(capsys, "resume", "--as", "ben")
    monkeypatch.setenv("EDGY_BUS_OPERATOR", "on call")
    run(capsys, "release", "accounts.User", "42", "--skip")
    run_words(capsys, "dead", "replay", "program:bus", "--all", "--yes", "--as", "ben")
    run_words(capsys, "dead", "discard", "program:bus", "--all", "--yes", "--as", "ben")
    status, out, _ = run(capsys, "actions")
    assert status == 0
    head, *lines = [line.split("  ") for line in out.splitlines()]
    assert [word.strip() for word in head if word] == [
        *("when", "who", "action", "group", "receiver", "choice", "result"),
    ]
    assert [[word.strip() for word in line if word][1:] for line in lines] == [
        ["ana@desk", "pause", "accounts", "for 7200 s: mail is away", "paused 0 workers"],
        ["ben", "resume", "accounts", "resumed"],
        [
            *("on call", "release --skip", "accounts", "app.mail"),
            *("accounts.User 42", "released 1 of 1"),
        ],
        ["ben", "dead replay", "all", "replayed 2 of 2"],
    ]


@pytest.mark.usefixtures("desk")
def test_views_dry_runs_and_commands_without_a_match_record_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("held", "status", "actions"):
        run(capsys, command)
    run_words(capsys, "dead", "replay", "program:bus", "--all", "--dry-run")
    run_words(capsys, "dead", "discard", "program:bus", "--all", "--receiver", "nobody", "--yes")
    run(capsys, "release", "accounts.User", "9")
    assert run(capsys, "actions")[1] == "no action is recorded\n"


@pytest.mark.usefixtures("desk")
def test_the_latest_actions_are_answered_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("ana", "ben", "eve"):
        run(capsys, "resume", "--as", name)
    status, out, _ = run(capsys, "actions", "--limit", "2", "--json")
    envelope = json.loads(out)
    assert (status, envelope["command"], envelope["exit"]) == (0, "actions", 0)
    first, last = envelope["data"]["actions"]
    assert (first["operator"], last["operator"]) == ("ben", "eve")
    assert set(last) == {
        *("at", "operator", "action", "group", "receiver", "choice", "count", "result"),
    }


def test_a_log_that_cannot_be_written_is_a_warning_beside_the_answer(
    capsys: pytest.CaptureFixture[str], desk: edgy.Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(entry: ActionEntry) -> None:
        raise BrokerError("no room")

    monkeypatch.setattr(desk.broker, "record", refuse)
    assert run_words(capsys, "dead", "replay", "program:bus", "--all", "--yes", "--json")[0] == 0
    status, out, err = run(capsys, "pause", "--json")
    assert (status, json.loads(out)["data"]["group"]) == (0, "accounts")
    assert err == ("Warning: `pause` is missing in the log of actions: BrokerError: no room\n")
