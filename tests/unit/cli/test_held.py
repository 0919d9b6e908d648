"""`edgy-bus held` and `release`: what is shown, what is done, and nothing else."""

import asyncio

import pytest

import edgy_bus as edgy
from tests.support import hold
from tests.unit.cli.support import run

ROW = ("accounts.User", "42")


@pytest.fixture
def holding(bus: edgy.Bus) -> edgy.Bus:
    """The bus, with a row that two receivers of the group `accounts` hold."""
    assert bus.broker is not None
    for receiver in ("app.mail", "app.search"):
        asyncio.run(hold(bus.broker, "42", group="accounts", receiver=receiver, reason="away"))
    return bus


@pytest.mark.usefixtures("bus")
def test_where_no_row_is_held_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "held") == (0, "no row is held\n", "")


@pytest.mark.usefixtures("holding")
def test_held_rows_are_listed_with_receiver_and_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "held") == (
        1,
        "model          row  receiver    why\n"
        "accounts.User  42   app.mail    away\n"
        "accounts.User  42   app.search  away\n",
        "",
    )


@pytest.mark.usefixtures("holding")
def test_a_misspelt_group_is_no_group_at_rest(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("held",), ("release", *ROW)):
        status, out, err = run(capsys, *command, "--group", "acounts")
        assert (status, out) == (2, "")
        assert err == "Error: no group 'acounts' has read a stream; the groups are: accounts\n"


@pytest.mark.usefixtures("bus")
def test_a_group_that_has_not_begun_yet_holds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "held", "--group", "mail")
    assert (status, err) == (
        2,
        "Error: no group 'mail' has read a stream; the groups are: none\n",
    )


@pytest.mark.usefixtures("holding")
def test_a_row_is_released_for_every_receiver_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "release", *ROW) == (
        0,
        "released the row '42' of accounts.User for app.mail, app.search\n",
        "",
    )
    status, out, err = run(capsys, "release", *ROW)
    assert (status, out) == (1, "")
    assert "was released before: a worker of the group 'accounts' handles" in err
    assert run(capsys, "held")[1].count("released: a worker handles its parked events") == 2


def test_a_row_is_released_for_a_receiver_without_its_first_event(
    capsys: pytest.CaptureFixture[str], holding: edgy.Bus
) -> None:
    status, out, _ = run(capsys, "release", *ROW, "--receiver", "app.mail", "--skip")
    assert status == 0
    assert "for app.mail; the event that was given up is in the dead letters" in out
    rows = asyncio.run(holding.held())
    assert [(row.receiver, row.released) for row in rows] == [
        ("app.mail", True),
        ("app.search", False),
    ]


@pytest.mark.usefixtures("holding")
@pytest.mark.parametrize(
    "row", [("accounts.User", "9"), ("billing.User", "42"), (*ROW, "--receiver", "app.other")]
)
def test_a_row_that_is_not_held_is_a_finding(
    capsys: pytest.CaptureFixture[str], row: tuple[str, ...]
) -> None:
    status, out, err = run(capsys, "release", *row)
    assert (status, out) == (1, "")
    assert f"the row '{row[1]}' of {row[0]} is not held in the group 'accounts'" in err
    assert "`edgy-bus held program:bus` lists the rows that are" in err


@pytest.mark.parametrize("names", [(), ("accounts.User",)])
def test_all_rows_are_released_by_one_command(
    capsys: pytest.CaptureFixture[str], holding: edgy.Bus, names: tuple[str, ...]
) -> None:
    assert holding.broker is not None
    for row in range(100):
        asyncio.run(hold(holding.broker, f"r{row}", group="accounts", receiver="app.mail"))
    assert run(capsys, "release", "billing.User", "--all")[0] == 1
    assert run(capsys, "release", *names, "--all") == (
        0,
        "released 102 rows for app.mail, app.search\n",
        "",
    )
    status, out, err = run(capsys, "release", *names, "--all")
    assert (status, out) == (1, "")
    assert "waits for a decision in the group 'accounts'" in err


@pytest.mark.usefixtures("holding")
@pytest.mark.parametrize("names", [(), ("accounts.User",), (*ROW, "--all")])
def test_a_release_of_nothing_or_of_a_row_and_all_is_refused(
    capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    status, _, err = run(capsys, "release", *names)
    assert status == 2
    assert "name a row, MODEL and ROW, or write --all" in err
