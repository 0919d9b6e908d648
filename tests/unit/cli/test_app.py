"""The application: the exit status of every kind of end."""

import pytest

from edgy_bus.cli import main, place
from edgy_bus.cli.exits import Exit
from edgy_bus.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    SignalError,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BrokerUnavailable("Redis [1] is away"), 3),
        (DatabaseUnavailable("PostgreSQL [1] is away"), 3),
        (ConfigurationError("no [1]"), 2),
        (SignalError("no [1]"), 2),
        (BrokerError("no [1]"), 2),
    ],
)
def test_an_error_of_ours_is_a_message_and_a_status(
    error: Exception,
    status: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(target: str) -> None:
        raise error

    monkeypatch.setattr(place, "load_bus", load)
    with pytest.raises(SystemExit) as caught:
        main(["held", "app:bus"])
    assert caught.value.code == status
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_statuses_are_fixed_because_scripts_read_them() -> None:
    assert [(status.name, status.value) for status in Exit] == [
        ("FINE", 0),
        ("FINDING", 1),
        ("USAGE", 2),
        ("UNREACHABLE", 3),
        ("CUT_OFF", 4),
    ]


@pytest.mark.parametrize("arguments", [["nothing"], ["held"], ["held", "app:bus", "--retires"]])
def test_a_wrong_call_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
