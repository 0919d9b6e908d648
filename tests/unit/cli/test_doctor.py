"""`edgy-bus doctor`: findings with a code and a remedy, and the status."""

import asyncio
import json
import re
from pathlib import Path

import pytest

import edgy_bus as edgy
from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.operations import diagnosis
from tests.support import bury, event
from tests.unit.cli.support import Ended, prepare_outbox, run_words

RUNBOOK = Path(__file__).parents[3] / "docs" / "operations.md"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Ended:
    return run_words(capsys, "doctor", "program:bus", "--seconds", "0", *words)


@pytest.fixture
def prepared(bus: edgy.Bus) -> edgy.Bus:
    prepare_outbox(bus)
    return bus


@pytest.mark.usefixtures("prepared")
def test_nothing_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys) == (0, "nothing is wrong\n", "")


def test_a_warning_is_a_finding_unless_only_errors_count(
    capsys: pytest.CaptureFixture[str], prepared: edgy.Bus
) -> None:
    assert prepared.broker is not None
    asyncio.run(bury(prepared.broker, event("1", 1)))
    status, out, _ = run(capsys)
    assert status == 1
    assert out.startswith("warning dead.letters: group mail\n")
    assert run(capsys, "--fail-on", "error")[0] == 0
    assert run(capsys, "--fail-on", "all")[0] == 2
    # The test has published the event itself, so that no outbox knows it.
    finding, foreign = json.loads(run(capsys, "--json")[1])["data"]["findings"]
    assert (foreign["code"], foreign["severity"]) == ("stream.foreign", "warning")
    assert (finding["code"], finding["severity"]) == ("dead.letters", "warning")
    assert "edgy-bus dead list" in finding["remedy"]


@pytest.mark.usefixtures("bus")
def test_a_database_that_is_away_is_named_and_the_broker_is_examined(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(self: Database) -> None:
        raise DatabaseUnavailable("the database is away")

    monkeypatch.setattr(Database, "connect", connect)
    status, out, _ = run(capsys)
    assert (status, "error outbox.unreachable" in out) == (1, True)
    assert "the database is away" in out


def test_the_runbook_explains_every_code() -> None:
    source = Path(diagnosis.__file__).read_text()
    codes = set(re.findall(r'^            "([a-z]+\.[a-z_]+)",$', source, re.MULTILINE))
    codes |= set(re.findall(r'^                "([a-z]+\.[a-z_]+)",$', source, re.MULTILINE))
    assert len(codes) >= 14
    explained = set(re.findall(r"^\| `([a-z._]+)` \|", RUNBOOK.read_text(), re.MULTILINE))
    assert codes - explained == set()
