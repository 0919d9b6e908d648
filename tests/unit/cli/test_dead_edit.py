"""`edgy-bus dead edit`: the difference, the question, the editor, and the statuses."""

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker
from tests.support import bury, event
from tests.unit.cli.support import Ended, run_words


@pytest.fixture
def letter(bus: edgy.Bus, capsys: pytest.CaptureFixture[str]) -> str:
    """The id of a letter, whose receiver the program has."""
    assert bus.broker is not None

    @bus.receiver("accounts.User", "post_save", name="app.mail", group="mail")
    async def mail(sender: object, **kwargs: object) -> None: ...

    asyncio.run(bury(bus.broker, event("1", 1)))
    return ids(capsys)[0]


@pytest.fixture
def broker(bus: edgy.Bus) -> Broker:
    assert bus.broker is not None
    return bus.broker


def dead(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> Ended:
    return run_words(capsys, "dead", command, "program:bus", *words)


def ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    letters = json.loads(dead(capsys, "list", "--letters", "--json")[1])["data"]["letters"]
    return [letter["id"] for letter in letters]


def row(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    (address,) = ids(capsys)
    shown = json.loads(dead(capsys, "show", address, "--payload", "--json")[1])["data"]
    instance: dict[str, object] = json.loads(shown["fields"]["data"])["instance"]
    return instance


def test_the_difference_is_shown_before_the_letter_is_edited(
    capsys: pytest.CaptureFixture[str], letter: str
) -> None:
    status, out, err = dead(capsys, "edit", letter, "--set", "n=5", "--yes", "--as", "ana")
    (new,) = ids(capsys)
    assert (status, err) == (0, "")
    assert '-    "n": 1\n+    "n": 5\n' in out
    assert out.endswith(f"edited; the letter is now {new}\n")
    assert row(capsys) == {"id": "1", "n": 5}
    assert "ana" in run_words(capsys, "actions", "program:bus")[1]


@pytest.mark.parametrize("words", [("--json",), ()])
def test_a_script_that_forgot_to_agree_edits_nothing(
    capsys: pytest.CaptureFixture[str], letter: str, words: tuple[str, ...]
) -> None:
    status, _, err = dead(capsys, "edit", letter, "--set", "n=5", *words)
    assert (status, err) == (2, f"Error: to edit {letter}, add --yes\n")
    assert ids(capsys) == [letter]


def test_a_dry_run_shows_the_difference_and_edits_nothing(
    capsys: pytest.CaptureFixture[str], letter: str
) -> None:
    status, out, _ = dead(capsys, "edit", letter, "--set", "n=5", "--dry-run")
    assert status == 0
    assert '+    "n": 5' in out
    assert "nothing is changed" in out
    status, out, _ = dead(capsys, "edit", letter, "--set", "n=5", "--dry-run", "--json")
    assert json.loads(out)["data"] == {
        "letter": letter,
        "id": None,
        "signed": False,
        "fields": [{"field": "n", "before": 1, "after": 5}],
    }
    assert ids(capsys) == [letter]
    assert "no action" in run_words(capsys, "actions", "program:bus")[1]


def test_what_is_gone_or_equal_is_a_finding(
    capsys: pytest.CaptureFixture[str], letter: str
) -> None:
    assert dead(capsys, "edit", letter, "--set", "n=1") == (1, "", "nothing would change\n")
    dead(capsys, "discard", letter)
    assert dead(capsys, "edit", letter, "--set", "n=5") == (1, "", "no dead letter matches\n")


def test_a_letter_that_goes_while_the_operator_thinks_is_a_finding(
    capsys: pytest.CaptureFixture[str],
    letter: str,
    broker: Broker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def gone(*_: object) -> None:
        return None

    monkeypatch.setattr(broker, "edit", gone)
    status, out, err = dead(capsys, "edit", letter, "--set", "n=5", "--yes")
    assert status == 1
    assert "edited" not in out
    assert err == "the letter was replayed, discarded or edited meanwhile\n"


def _editor(folder: Path, code: str) -> str:
    script = folder / "editor.py"
    script.write_text(f"import os, pathlib, sys\npath = pathlib.Path(sys.argv[1])\n{code}\n")
    return shlex.join([sys.executable, str(script)])


def test_the_editor_gets_the_data_in_a_file_of_the_operator_alone(
    capsys: pytest.CaptureFixture[str],
    letter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = tmp_path / "seen"
    code = (
        f"open({str(seen)!r}, 'w').write(f'{{oct(path.parent.stat().st_mode)[-3:]}} {{path}}')\n"
        "path.write_text(path.read_text().replace('\"n\": 1', '\"n\": 6'))"
    )
    monkeypatch.setenv("VISUAL", _editor(tmp_path, code))
    monkeypatch.setenv("EDITOR", "false")
    assert dead(capsys, "edit", letter, "--editor", "--yes")[0] == 0
    assert row(capsys) == {"id": "1", "n": 6}
    mode, path = seen.read_text().split(" ", 1)
    assert mode == "700"
    assert not os.path.lexists(path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit(3)", "ended with status 3: nothing is changed"),
        ("path.unlink()", "the edited text cannot be read"),
        ("path.write_bytes(bytes([255]))", "the edited text cannot be read"),
        ("path.write_text('{')", "the edited text is not JSON"),
    ],
)
def test_an_editor_that_leaves_no_data_changes_nothing(
    capsys: pytest.CaptureFixture[str],
    letter: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    reason: str,
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", _editor(tmp_path, code))
    status, _, err = dead(capsys, "edit", letter, "--editor", "--yes")
    assert status == 2
    assert reason in err
    monkeypatch.setenv("EDITOR", str(tmp_path / "nowhere"))
    assert "cannot be started" in dead(capsys, "edit", letter, "--editor", "--yes")[2]
    assert ids(capsys) == [letter]


def test_a_wrong_call_is_refused(capsys: pytest.CaptureFixture[str], letter: str) -> None:
    for words in ((), (letter,), (letter, "--set", "n=1", "--editor"), ("--editor",)):
        assert dead(capsys, "edit", *words)[0] == 2
    status, _, err = dead(capsys, "edit", letter, "--set", 'n="x"')
    assert status == 2
    assert "n has to stay a JSON value of its kind" in err
    assert ids(capsys) == [letter]
