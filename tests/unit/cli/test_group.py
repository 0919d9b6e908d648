"""`edgy-bus group`: the list of groups, and the end of a group that no worker runs."""

import asyncio

import pytest

import edgy_bus as edgy
from edgy_bus import operations
from tests.support import hold
from tests.unit.cli.support import prepare_outbox, run_words

FORGET = ("group", "forget", "program:bus", "accounts", "--yes")


@pytest.fixture
def holding(bus: edgy.Bus) -> edgy.Bus:
    """The bus, with a stream that the group `accounts` has read."""
    assert bus.broker is not None
    asyncio.run(hold(bus.broker, "42", group="accounts", receiver="app.mail"))
    return bus


def test_forgetting_names_the_models_and_repeats_without_harm(
    capsys: pytest.CaptureFixture[str], holding: edgy.Bus
) -> None:
    status, _, err = run_words(capsys, *FORGET)
    assert status == 2
    assert "Start the service once, which creates its tables" in err
    prepare_outbox(holding)
    assert run_words(capsys, *FORGET) == (
        0,
        "the group 'accounts' was removed from accounts.User\n",
        "",
    )
    assert run_words(capsys, *FORGET) == (
        1,
        "",
        "no model of accounts knew the group 'accounts'\n",
    )


@pytest.mark.usefixtures("bus")
def test_a_bus_without_an_outbox_has_no_group_to_forget(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("program.bus", edgy.Bus("memory://", service="mail"))
    status, _, err = run_words(capsys, "group", "forget", "program:bus", "mail", "--yes")
    assert status == 2
    assert "this bus has no registry" in err


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_script_that_forgot_to_agree_forgets_nothing(
    capsys: pytest.CaptureFixture[str], holding: edgy.Bus, words: tuple[str, ...]
) -> None:
    status, _, err = run_words(capsys, *FORGET[:-1], *words)
    assert (status, err) == (2, "Error: to forget the group 'accounts', add --yes\n")
    assert holding.broker is not None
    assert asyncio.run(operations.group_names(holding.broker)) == ("accounts",)


def test_the_list_shows_the_groups(capsys: pytest.CaptureFixture[str], holding: edgy.Bus) -> None:
    _, out, _ = run_words(capsys, "group", "list", "program:bus")
    assert "accounts" in out


@pytest.mark.parametrize("word", ["forget", "groups"])
def test_the_words_of_earlier_releases_are_gone(
    capsys: pytest.CaptureFixture[str], word: str
) -> None:
    status, _, err = run_words(capsys, word, "program:bus")
    assert status == 2
    assert f"No such command '{word}'" in err
