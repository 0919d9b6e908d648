"""`edgy-bus dead …`: what is shown, what is asked, what is done, and with which status."""

import asyncio
import json
import os
from pathlib import Path

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker, LetterLimits
from tests.support import bury, event, hold
from tests.unit.cli.support import Ended, run_words


def run(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> Ended:
    """Run `dead` on `program:bus`."""
    return run_words(capsys, "dead", command, "program:bus", *words)


@pytest.fixture
def broker(bus: edgy.Bus) -> Broker:
    assert bus.broker is not None
    return bus.broker


@pytest.fixture
def letters(broker: Broker) -> Broker:
    """The broker, with three dead letters: of two receivers, and with a secret in the row."""
    asyncio.run(bury(broker, event("1", 1, secret="hunter2"), event("2", 2), reason="HTTP 503"))
    asyncio.run(bury(broker, event("1", 3), receiver="app.search", reason="KeyError"))
    return broker


def ids(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    _, out, _ = run(capsys, "list", "--letters", "--json", *options)
    return [letter["id"] for letter in json.loads(out)["data"]["letters"]]


@pytest.mark.usefixtures("broker")
def test_where_there_is_no_letter_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list") == (0, "there is no dead letter\n", "")
    assert run(capsys, "list", "--letters") == (0, "there is no dead letter\n", "")
    for command in ("replay", "discard"):
        assert run(capsys, command, "--all", "--yes") == (1, "", "no dead letter matches\n")
    assert run(capsys, "export") == (1, "", "no dead letter matches\n")


@pytest.mark.usefixtures("letters")
def test_failures_are_listed_with_counts(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list")
    head, *rows = [line.split() for line in out.splitlines()]
    assert status == 1
    assert head == ["letters", "group", "receiver", "model", "first", "last", "fingerprint", "why"]
    assert sorted((row[0], row[2], row[-1]) for row in rows) == [
        ("1", "app.search", "KeyError"),
        ("2", "app.mail", "503"),
    ]
    status, out, _ = run(capsys, "list", "--receiver", "app.search", "--json")
    envelope = json.loads(out)
    assert (status, envelope["exit"], envelope["data"]["count"]) == (1, 1, 1)
    assert run(capsys, "list", "--key", "9")[0] == 0


def test_letters_that_limits_removed_are_counted(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(bury(broker, event("1", 1), event("2", 2), limits=LetterLimits(most=1)))
    _, out, _ = run(capsys, "list", "--receiver", "app.mail")
    assert out.splitlines()[-1].endswith("letter_retention or most_letters removed so far: 1")
    assert run(capsys, "discard", "--all", "--yes")[0] == 0
    status, out, _ = run(capsys, "list", "--json")
    assert (status, json.loads(out)["data"]["removed"]) == (0, 1)
    assert json.loads(run(capsys, "list", "--group", "other", "--json")[1])["data"]["removed"] == 0
    _, out, _ = run_words(capsys, "status", "program:bus")
    assert "dead letters removed by age or number: 1" in out


@pytest.mark.usefixtures("letters")
def test_letters_are_listed_up_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "list", "--letters", "--limit", "2")
    assert (status, len(out.splitlines())) == (1, 4)
    assert "more letters match: --limit 20" in out
    assert len(ids(capsys, "--since", "1h")) == 3
    assert ids(capsys, "--until", "1h") == []


@pytest.mark.usefixtures("letters")
def test_the_data_of_a_letter_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = ids(capsys)
    status, out, _ = run(capsys, "show", first)
    assert status == 0
    assert "HTTP 503" in out
    assert "hunter2" not in out
    assert "--payload" in out
    assert "hunter2" in run(capsys, "show", first, "--payload")[1]
    assert "hunter2" not in run(capsys, "show", first, "--json")[1]
    assert run(capsys, "show", "accounts/accounts.User/0/1-1")[0] == 1
    assert run(capsys, "show", "nonsense")[0] == 2
    assert run(capsys, "show")[0] == 2


def test_a_replay_of_all_counts_first_and_asks(
    capsys: pytest.CaptureFixture[str], letters: Broker
) -> None:
    status, _, err = run(capsys, "replay", "--all")
    assert (status, "to replay all 3 letters, add --yes" in err) == (2, True)
    status, out, _ = run(capsys, "replay", "--all", "--dry-run")
    assert (status, out.splitlines()[-1]) == (0, "would replay 3 letters")
    assert len(ids(capsys)) == 3
    status, out, _ = run(capsys, "replay", "--all", "--yes", "--receiver", "app.mail")
    assert (status, out.splitlines()[-1]) == (0, "replayed 2 of 2 letters")
    assert run(capsys, "replay", "--all", "--yes", "--receiver", "app.mail")[0] == 1
    assert len(ids(capsys)) == 1


@pytest.mark.usefixtures("letters")
def test_letters_are_named_by_ids_or_by_options(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = ids(capsys)
    for words in ((), (first, "--all"), (first, "--key", "1")):
        assert run(capsys, "replay", *words)[0] == 2
    assert run(capsys, "replay", first, "--json")[0] == 0
    status, out, err = run(capsys, "discard", first, second)
    assert (status, out.splitlines()[-1]) == (1, "discarded 1 letters")
    assert err == "1 of the ids are no letter any more\n"
    assert ids(capsys) == [third]


def test_letters_of_held_rows_stay(capsys: pytest.CaptureFixture[str], letters: Broker) -> None:
    asyncio.run(hold(letters, "1", group="mail"))
    status, out, _ = run(capsys, "replay", "--all", "--yes")
    assert status == 1
    assert "replayed 2 of 3 letters\n1 stay: their rows are held" in out


@pytest.mark.usefixtures("letters")
def test_letters_are_exported_for_their_owner_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "letters.jsonl"
    assert run(capsys, "export", "-o", str(file))[0] == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["letter"]["id"] for line in lines] == ids(capsys)
    assert "hunter2" in lines[0]["fields"]["data"]
    assert os.stat(file).st_mode & 0o077 == 0
    status, _, err = run(capsys, "export", "-o", str(file))
    assert (status, "File exists" in err) == (2, True)
    assert "hunter2" in run(capsys, "export")[1]


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("since", ["yesterday", "3 h", "2026-13-01"])
def test_what_is_no_time_is_refused(capsys: pytest.CaptureFixture[str], since: str) -> None:
    status, _, err = run(capsys, "list", "--since", since)
    assert (status, "is not a time" in err) == (2, True)
